"""`.pt2`: the program that torch.export finds, and the same compiled for this CPU by AOTInductor."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pinnace.export.formats.base import Format, Graph, dynamic_shapes
from pinnace.models.errors import CheckFailed, MissingDependency, error_lines
from pinnace.models.variant_name import VariantName

AOTI = "aoti"


def write(graph: Graph, path: Path) -> None:
    """Export with a dynamic batch, compile it where that is asked for, save.

    Raises:
        CheckFailed: the network cannot be exported or compiled.
        MissingDependency: there is no C++ compiler to compile with.
    """
    import torch

    compiler = os.environ.get("CXX", "g++")
    if graph.precision == AOTI and shutil.which(compiler) is None:
        raise MissingDependency(
            f"pt2-aoti needs a C++ compiler, and there is no {compiler}", hint="apt-get install g++"
        )
    try:
        with torch.no_grad():
            program = torch.export.export(
                graph.module,
                graph.example,
                dynamic_shapes={"inputs": dynamic_shapes(graph.signature)},
            )
            if graph.precision == AOTI:
                from torch._inductor import aoti_compile_and_package

                aoti_compile_and_package(program, package_path=str(path))
            else:
                torch.export.save(program, path)
    except Exception as error:  # torch.export and the compiler raise classes of their own, dozens of them
        what = "AOTInductor cannot compile" if graph.precision == AOTI else "torch.export cannot export"
        raise CheckFailed(
            f"{what} the network: {error_lines(error)[0]}", hint="leave it out with --format onnx"
        ) from error


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that write the file with torch alone."""
    export = (
        "program = torch.export.export("
        'model, examples, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},) * len(examples))\n'
    )
    if variant.precision != AOTI:
        return f'{export}torch.export.save(program, "{variant}.pt2")\n'
    return (
        "from torch._inductor import aoti_compile_and_package\n\n"
        f'{export}aoti_compile_and_package(program, package_path="{variant}.pt2")\n'
    )


FORMAT = Format("pt2", ".pt2", ("fp32",), ("torch",), write, snippet, compiled={AOTI: "fp32"})
