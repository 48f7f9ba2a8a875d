"""Options that several verbs share, so that they are spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
BundleArgument = Annotated[
    Path, typer.Argument(help="A bundle's folder.", metavar="BUNDLE", show_default=False)
]
VariantOption = Annotated[
    str | None,
    typer.Option(
        "--variant", help="Which variant, such as onnx-fp32.", show_default="the first that runs here"
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option("--runtime", help="Which runtime, such as onnxruntime.", show_default="the preferred one"),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads of one call.",
        show_default="the CPUs at hand; 1 where rows are written",
    ),
]
ProgressOption = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="Show how far it is.", show_default="on a terminal"),
]
