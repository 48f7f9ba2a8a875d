"""`pinnace pull`: a bundle from a URL or a store, whole and checked, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinnace.cli.options import Json, ProgressOption


def pull(
    url: Annotated[
        str,
        typer.Argument(
            help="Where the bundle's folder is: https://HOST/FOLDER, s3://BUCKET/FOLDER, hf://OWNER/NAME.",
            metavar="URL",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The folder to make.", metavar="DIR", show_default="the URL's last part"
        ),
    ] = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Fetch a bundle; each file is compared with its hash, and a pull that was cut goes on."""
    from pinnace.cli.commands.inspect import print_bundle
    from pinnace.cli.console import only_data
    from pinnace.cli.progress import steps
    from pinnace.models.bundle.transfer import pull as fetch
    from pinnace.models.urls import without_secrets

    name = without_secrets(url).rstrip("/").rpartition("/")[2]
    with only_data(), steps(progress) as show:
        bundle = fetch(url, Path(name or "pulled.bundle") if output is None else output, show)
    print_bundle(bundle, json=json)
