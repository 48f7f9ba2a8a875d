"""`pinnace package`: a bento, or a model repository of Triton, that serves bundles elsewhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pinnace.cli.bundles import bundle_folder
from pinnace.cli.console import out, plain, print_json
from pinnace.cli.options import Json
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import UsageError
from pinnace.models.files import size_text


class Device(str, Enum):
    """Which ONNX Runtime a bento requires."""

    CPU = "cpu"
    CUDA = "cuda"


def package(
    bundle: Annotated[
        list[Path],
        typer.Argument(
            help="Bundles' folders or URLs; the first answers where a request names no model.",
            metavar="BUNDLE...",
            parser=bundle_folder,
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bento's folder.", metavar="DIR", show_default=False)
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="A variant of each bundle to include; repeatable, and the first is served.",
            show_default="every ONNX variant",
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="cpu or cuda.", show_default="`cpu`")] = Device.CPU,
    triton: Annotated[
        bool,
        typer.Option(
            "--triton", help="Write a model repository for Triton instead, with one variant of each bundle."
        ),
    ] = False,
    kserve: Annotated[
        bool,
        typer.Option(
            "--kserve",
            help="Write a runtime and services for KServe instead, with the bundles and the image's recipe.",
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="The bento's name, or with --kserve the model's and its service's.",
            show_default="the model's",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Sign the bundles in it with this Ed25519 private key.", metavar="FILE", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a bento: a folder with the models, Pinnace and their requirements, for `bentoml serve`."""
    opened = [Bundle.open(folder) for folder in bundle]
    if triton and (kserve or key is not None or name is not None):
        raise UsageError("--kserve, --name and --key have no meaning with --triton")
    if triton:
        _package_for_triton(opened, output, variant or [], device, json)
        return
    if kserve:
        _package_for_kserve(opened, output, tuple(variant or ()), device, name, key, json)
        return
    from pinnace.serving.packaging.bento import build_bento

    made = build_bento(
        *opened, folder=output, variants=tuple(variant or ()), device=device.value, key=key, name=name
    )
    if json:
        print_json(made)
        return
    console = out()
    console.print(f"bento     {plain(str(made.folder))}", soft_wrap=True)
    console.print(f"tag       {made.tag}")
    console.print(f"device    {made.device}")
    console.print(f"variants  {', '.join(made.variants)}")
    for profile in made.profiles:
        console.print(f"tuned     {profile}", soft_wrap=True)
    console.print(f"size      {size_text(made.bytes)}")
    console.print(f"serve     bentoml serve {plain(str(made.folder))}", soft_wrap=True)


def _package_for_triton(
    bundles: list[Bundle], output: Path, variants: list[str], device: Device, json: bool
) -> None:
    from pinnace.serving.packaging.triton import build_repository

    if len(variants) > 1:
        raise UsageError("Triton serves one variant of each bundle", hint="give --variant once")
    made = build_repository(*bundles, folder=output, variant=next(iter(variants), None), device=device.value)
    if json:
        print_json(made)
        return
    console = out()
    console.print(f"repository  {plain(str(made.folder))}", soft_wrap=True)
    console.print(f"models      {', '.join(made.models)}")
    console.print(f"variants    {', '.join(made.variants)}")
    console.print(f"size        {size_text(made.bytes)}")
    console.print(f"serve       tritonserver --model-repository {plain(str(made.folder))}", soft_wrap=True)


def _package_for_kserve(
    bundles: list[Bundle],
    output: Path,
    variants: tuple[str, ...],
    device: Device,
    name: str | None,
    key: Path | None,
    json: bool,
) -> None:
    from pinnace.serving.packaging.kserve import build_kserve

    made = build_kserve(*bundles, folder=output, variants=variants, device=device.value, name=name, key=key)
    if json:
        print_json(made)
        return
    console = out()
    console.print(f"folder    {plain(str(made.folder))}", soft_wrap=True)
    console.print(f"models    {', '.join(made.models)}")
    console.print(f"device    {made.device}")
    console.print(f"variants  {', '.join(made.variants)}")
    console.print(f"size      {size_text(made.bytes)}")
    console.print(f"apply     kubectl apply -f {plain(str(made.folder))}", soft_wrap=True)
