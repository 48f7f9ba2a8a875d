"""ONNX, through torch.export, with a dynamic batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinnace.export.formats.base import Format, Graph, dynamic_shapes
from pinnace.export.formats.onnx.file import require_room, save, save_model
from pinnace.export.formats.onnx.opset import NATIVE, with_opset
from pinnace.export.formats.onnx.scripted import export_scripted
from pinnace.export.precision import fp16, int8
from pinnace.models.errors import CheckFailed
from pinnace.models.loaders.foreign import describe
from pinnace.models.variant_name import VariantName


def write(graph: Graph, path: Path) -> tuple[str, ...]:
    """Export, strip what names the machine it was made on, check, save in one file.

    Returns:
        A note where the file was not written by the exporter that is asked first.

    Raises:
        CheckFailed: the network cannot be exported, or not in this opset.
    """
    import torch

    try:
        if isinstance(graph.module, torch.jit.ScriptModule):
            export_scripted(graph, path)
            return ()
        with torch.no_grad():
            program = torch.onnx.export(
                graph.module,
                graph.example,
                dynamo=True,
                opset_version=max(graph.opset, NATIVE),
                input_names=list(graph.signature.input_names),
                output_names=list(graph.signature.output_names),
                dynamic_shapes=(dynamic_shapes(graph.signature),),
                verbose=False,
            )
    except Exception as error:  # torch.export and onnxscript raise classes of their own, dozens of them
        raise CheckFailed(
            f"torch.onnx.export cannot export the network: {_reason(error)}",
            hint="leave it out with --format torchscript",
        ) from error
    if program is None:
        raise CheckFailed("torch.onnx.export gave no program")
    if program.model.opset_imports.get("") == graph.opset:
        save(program, path)
        return ()
    return _write_in_opset(program, graph, path)


def _write_in_opset(program: Any, graph: Graph, path: Path) -> tuple[str, ...]:
    """Convert what torch exported to the opset that is asked for; or let the older exporter write that."""
    try:
        save_model(with_opset(program.model_proto, graph.opset), path)
        return ()
    except ValueError as error:
        reason = str(error)
    try:
        export_scripted(graph, path)
    except Exception as error:  # as above
        raise CheckFailed(
            f"the network cannot be written in opset {graph.opset}: {reason}; torch's older exporter fails "
            f"as well: {_reason(error)}",
            expected=f"opset {graph.opset}",
            got=f"opset {NATIVE}",
            hint=f"--opset {NATIVE}, or leave ONNX out with --format torchscript",
        ) from error
    return (
        f"{path.stem} was written by torch's TorchScript-based exporter, because what the newer one gives "
        f"cannot be converted to opset {graph.opset}: {reason}",
    )


def _reason(error: BaseException) -> str:
    """The innermost cause that says something, in one line."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    cause = next((cause for cause in reversed(causes) if str(cause).strip()), error)
    return describe(cause)


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that write the file with torch alone."""
    if opset < NATIVE:
        return f"""\
torch.onnx.export(
    model,
    (example,),
    "{variant}.onnx",
    dynamo=False,
    opset_version={opset},
    input_names=["input"],
    dynamic_axes={{"input": {{0: "batch"}}}},
)
"""
    return f"""\
program = torch.onnx.export(
    model,
    (example,),
    dynamo=True,
    opset_version={opset},
    input_names=["input"],
    dynamic_shapes=({{0: torch.export.Dim("batch", min=1)}},),
)
program.save("{variant}.onnx")
"""


FORMAT = Format(
    "onnx",
    ".onnx",
    ("fp32",),
    ("torch", "onnx", "onnxscript"),
    write,
    snippet,
    check_size=require_room,
    conversions={"fp16": fp16.CONVERSION, "int8": int8.INT8, "int8sym": int8.INT8SYM},
)
