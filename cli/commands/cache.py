"""`pinnace cache`: the bundles that were pulled from elsewhere, and what of them may go."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from pinnace.cli.options import Json


def cache(
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove what its URL no longer has, and what a pull that broke off has left."
        ),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            help="With --prune: also what was not asked for in so long, such as 30d.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            help="With --prune: also what was asked for longest ago, until no more is left, such as 10G.",
            metavar="SIZE",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the bundles in the cache, in $PINNACE_CACHE or the user's folder for caches.

    A bundle that a process uses is never removed.
    """
    from pinnace.cli.console import out, plain, print_json, print_note
    from pinnace.cli.tables import Column, print_table
    from pinnace.latency.durations import parse_duration
    from pinnace.models.bundle import cache_contents
    from pinnace.models.bundle.cache import cache_folder
    from pinnace.models.errors import UsageError
    from pinnace.models.files import parse_bytes, size_text

    if not prune and (older_than is not None or max_size is not None):
        raise UsageError("--older-than and --max-size say what --prune removes", hint="add --prune")
    if prune:
        age = None if older_than is None else parse_duration(older_than, "--older-than")
        most = None if max_size is None else parse_bytes(max_size, "--max-size")
        pruned = cache_contents.prune(age, most)
        if json:
            print_json({"removed": [asdict(row) for row in pruned.bundles], "bytes": pruned.bytes})
            return
        for row in pruned.bundles:
            out().print(f"removed  {plain(row.name)} {row.version}  {plain(row.url)}", soft_wrap=True)
        print_note(f"the cache takes {size_text(pruned.bytes)} less")
        return
    rows = cache_contents.contents()
    if json:
        print_json({"folder": str(cache_folder()), "bundles": [asdict(row) for row in rows]})
        return
    columns = (
        Column("name"),
        Column("URL", wraps=True),
        Column("version"),
        Column("size", right=True),
        Column("last used"),
        Column(""),
    )
    table = []
    for row in rows:
        state = "in use" if row.in_use else "" if row.current else "replaced"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.used))
        table.append((plain(row.name), plain(row.url), row.version, size_text(row.bytes), when, state))
    if table:
        print_table(out(), columns, table)
    total = size_text(cache_contents.disk_bytes(cache_folder()))
    print_note(f"{total} in {cache_folder()}" if table else f"nothing is in {cache_folder()}")
