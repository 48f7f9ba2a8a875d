"""`pinnace serve`: settings from the command line, and a server that runs with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.console import out, plain, print_json
from pinnace.cli.options import NoProfileOption, OnDeviceOption, RuntimeOption, VariantOption
from pinnace.cli.tables import Column, print_table
from pinnace.models.errors import UsageError

if TYPE_CHECKING:
    from pinnace.serving.settings import ResolvedSetting


def serve(
    bundle: Annotated[
        list[str] | None,
        typer.Argument(
            help="Bundles' folders or URLs; the first answers where a request names no model.",
            metavar="[BUNDLE]...",
            show_default="the setting `bundle`",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1, this machine only")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", min=1, max=65535, show_default="3000")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="Server processes, or auto.", metavar="N", show_default="auto")
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(help="Images at once in each process, or auto.", metavar="N", show_default="auto"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads for one image.", min=1, show_default="1")
    ] = None,
    variant: VariantOption = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Serve this variant of the first bundle too, as NAME@VARIANT; repeatable.",
            metavar="VARIANT",
            show_default=False,
        ),
    ] = None,
    runtime: RuntimeOption = None,
    no_profile: NoProfileOption = False,
    device: OnDeviceOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Score from which on a label counts as true, where several may be.",
            min=0,
            max=1,
            show_default="each bundle's",
        ),
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(
            help="Look every so many seconds whether another bundle stands there, and take it up.",
            min=1,
            metavar="SECONDS",
            show_default="never",
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            help="A second bundle, asked about a share of the images after they are answered; metrics count "
            "where it disagrees.",
            metavar="BUNDLE",
            show_default=False,
        ),
    ] = None,
    shadow_share: Annotated[
        float | None, typer.Option(help="The share that it is asked about.", max=1, show_default="0.1")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            help="A folder or a URL to which a row for each answer is written, as Parquet.",
            metavar="DIR|URL",
            show_default=False,
        ),
    ] = None,
    record_share: Annotated[
        float | None, typer.Option(help="The share of the answers that is recorded.", max=1, show_default="1")
    ] = None,
    record_images: Annotated[
        bool, typer.Option("--record-images", help="Keep the images too, for `pinnace replay`.")
    ] = False,
    record_max: Annotated[
        str | None,
        typer.Option(
            help="The most bytes of the record; the oldest images go.",
            metavar="SIZE",
            show_default="1G",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Answer POST /explain too, which the page asks why."),
    ] = False,
    torchserve: Annotated[
        bool,
        typer.Option("--torchserve", help="Answer the routes of TorchServe as well, for its clients."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of settings; options and PINNACE_ variables come first.",
            metavar="FILE",
            show_default="$PINNACE_CONFIG, or pinnace.toml where there is one",
        ),
    ] = None,
    print_settings: Annotated[
        bool,
        typer.Option(
            "--print-settings", help="Show every setting and where it comes from, and serve nothing."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --print-settings: print JSON.")] = False,
) -> None:
    """Serve bundles over HTTP until it is interrupted; requests in flight are finished first."""
    from pinnace.serving.settings import load_settings, resolve_settings

    if json and not print_settings:
        raise UsageError("--json has a meaning only with --print-settings")
    options = {
        "bundle": tuple(bundle or ()) or None,
        "host": host,
        "port": port,
        "workers": workers,
        "concurrency": concurrency,
        "threads": threads,
        "variant": variant,
        "beside": tuple(beside or ()) or None,
        "runtime": runtime,
        "profile": False if no_profile else None,
        "device": device,
        "threshold": threshold,
        "watch": watch,
        "shadow": shadow,
        "shadow_share": shadow_share,
        "record": record,
        "record_share": record_share,
        "record_images": record_images or None,
        "record_max": record_max,
        "explain": explain or None,
        "torchserve": torchserve or None,
    }
    if print_settings:
        _print_settings(resolve_settings(config, **options), json)
        return
    from pinnace.serving.bentoml.required import require_packages

    require_packages()
    from pinnace.serving.bentoml.launcher import launch

    launch(load_settings(config, **options))


def _print_settings(settings: list[ResolvedSetting], json: bool) -> None:
    if json:
        print_json({one.name: {"value": one.value, "source": one.source} for one in settings})
        return
    rows = []
    for one in settings:
        value = "" if one.value is None else str(one.value)
        if isinstance(one.value, list):
            value = " ".join(map(str, one.value))
        rows.append((one.name, plain(value), "" if one.source == "default" else plain(one.source)))
    print_table(out(), (Column("setting"), Column("value", wraps=True), Column("from", wraps=True)), rows)
