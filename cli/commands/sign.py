"""`pinnace sign`: a signature of all files of a bundle, for those who accept only what they have signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinnace.cli.options import Json, OwnBundleArgument


def sign(
    bundle: OwnBundleArgument,
    key: Annotated[
        Path,
        typer.Option(
            help="File with an Ed25519 private key, in PEM or OpenSSH's form.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    json: Json = False,
) -> None:
    """Sign every file of a bundle; where PINNACE_TRUSTED_KEY is set, no other bundle is opened."""
    from pinnace.cli.console import out, plain, print_json
    from pinnace.models.bundle import signing
    from pinnace.models.bundle.bundle import Bundle

    opened = Bundle.open(bundle, check_signature=False)
    opened.check_files()
    signed = signing.sign(opened.folder, opened.name, key)
    if json:
        print_json(signed)
        return
    out().print(f"signature  {plain(str(signed.file))}", soft_wrap=True)
    out().print(f"files      {signed.files}")
    out().print(f"key        {signed.key}")
