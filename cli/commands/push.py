"""`pinnace push`: a bundle into a store, its manifest last."""

from __future__ import annotations

from typing import Annotated

import typer

from pinnace.cli.options import BundleArgument, Json, ProgressOption


def push(
    bundle: BundleArgument,
    url: Annotated[
        str,
        typer.Argument(
            help="The folder to write: s3://BUCKET/FOLDER, or another store's.",
            metavar="URL",
            show_default=False,
        ),
    ],
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Copy a bundle into a store, from which `pinnace pull` fetches it."""
    from pinnace.cli.console import only_data, out, plain, print_json
    from pinnace.cli.progress import steps
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.bundle.transfer import push as send
    from pinnace.models.urls import without_secrets

    opened = Bundle.open(bundle)
    with only_data(), steps(progress) as show:
        send(opened, url, show)
    place = without_secrets(url)
    if json:
        print_json({"bundle": place, "name": opened.name, "version": opened.version})
        return
    out().print(f"{plain(opened.name)} {opened.version} is at {plain(place)}", soft_wrap=True)
