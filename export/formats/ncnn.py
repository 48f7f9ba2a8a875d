"""ncnn: a graph and its weights for small Arm and x86 devices, without Python or torch; written by pnnx.

`ncnn-fp16` holds the weights in half precision, which is what ncnn's own tools write. pnnx is a program that
reads a trace of torch: https://github.com/pnnx/pnnx.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from pinnace.export.formats.base import Format, Graph
from pinnace.models.bundle.manifest import weights_file
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.errors import CheckFailed, MissingDependency, error_lines
from pinnace.models.install import install_line
from pinnace.models.variant_name import VariantName

_LEAVE_OUT = "leave it out with --format onnx"


def write(graph: Graph, path: Path) -> None:
    """Trace with one image, and have pnnx write the graph to `path` and the weights beside it.

    Raises:
        CheckFailed: the network cannot be traced, has inputs of another kind than one image of a fixed size,
            or an operation for which ncnn has no layer.
        MissingDependency: pnnx is not installed.
    """
    try:
        from pnnx import EXEC_PATH
    except ImportError as error:
        raise MissingDependency("the package pnnx is not installed", hint=install_line("pnnx")) from error
    shapes = [_shape(spec) for spec in graph.signature.inputs]
    with tempfile.TemporaryDirectory(prefix="pinnace-ncnn-") as name:
        folder = Path(name)
        _trace(graph, folder / "traced.pt")
        command = [EXEC_PATH, "traced.pt", "inputshape=" + ",".join(shapes)]
        command += [f"fp16={int(graph.precision == 'fp16')}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        param, weights = folder / "traced.ncnn.param", folder / "traced.ncnn.bin"
        if done.returncode or not param.is_file() or not weights.is_file():
            said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
            raise CheckFailed(f"pnnx cannot convert the network: {said[-1].strip()}", hint=_LEAVE_OUT)
        if unknown := _unknown_layers(param.read_text()):
            raise CheckFailed(f"ncnn has no layer for {', '.join(unknown)}", hint=_LEAVE_OUT)
        path.write_bytes(param.read_bytes())
        path.with_name(weights_file(path.name)).write_bytes(weights.read_bytes())


def _shape(spec: TensorSpec) -> str:
    """An input as pnnx takes it, such as `[1,3,224,224]f32`."""
    sizes = [1 if dim == BATCH else dim for dim in spec.shape]
    if spec.dtype != "float32" or spec.shape[:1] != (BATCH,) or any(isinstance(size, str) for size in sizes):
        raise CheckFailed(
            "ncnn takes images one by one, in float32 and of one size", got=str(spec), hint=_LEAVE_OUT
        )
    return f"[{','.join(map(str, sizes))}]f32"


def _trace(graph: Graph, path: Path) -> None:
    import torch

    try:
        with torch.no_grad():
            example = tuple(tensor[:1] for tensor in graph.example)
            traced = torch.jit.trace(graph.module, example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(path))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckFailed(
            f"torch.jit.trace cannot trace the network: {error_lines(error)[0]}", hint=_LEAVE_OUT
        ) from error


def _unknown_layers(param: str) -> list[str]:
    """What pnnx has left as an operation of torch: names with a dot or a colon, which ncnn's have not."""
    kinds = [line.split()[0] for line in param.splitlines()[2:] if line.strip()]
    return sorted({kind for kind in kinds if "." in kind or ":" in kind})


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that write both files with torch and pnnx alone."""
    return f"""\
import pnnx, subprocess

examples = tuple(example[:1] for example in examples)
torch.jit.save(torch.jit.trace(model, examples, check_trace=False), "{variant}.pt")
shapes = ",".join("[" + ",".join(map(str, example.shape)) + "]f32" for example in examples)
files = ["ncnnparam={variant}.param", "ncnnbin={variant}.param.data"]
options = ["inputshape=" + shapes, "fp16={int(variant.precision == "fp16")}"]
subprocess.run([pnnx.EXEC_PATH, "{variant}.pt", *options, *files], check=True)
"""


FORMAT = Format("ncnn", ".param", ("fp32", "fp16"), ("pnnx",), write, snippet)
