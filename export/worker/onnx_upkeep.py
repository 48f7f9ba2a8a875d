"""What is changed of an ONNX file before it goes into a bundle: its opset, and weights among its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.export.formats.onnx.opset import LEAST, OpsetError, hide_weights, opset_of, with_opset
from pinnace.export.request import ExportRequest, OpsetOrigin
from pinnace.models.errors import CheckFailed

if TYPE_CHECKING:
    import onnx

# Operators of 8-bit integers, beside those whose names begin with QLinear.
_INTEGERS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    | {"QGemm", "QAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"}
)

_HINT = "write the file in that opset with the tool that made it, or leave out what asks for it"


@dataclass(frozen=True)
class Upkeep:
    """What came of a file.

    Attributes:
        precision: what it computes in: `fp32`, `fp16` or `int8`.
        notes: sentences for the user.
    """

    precision: str
    notes: tuple[str, ...] = ()


def keep_up(path: Path, request: ExportRequest) -> Upkeep:
    """Bring a file into the opset that is asked for, if any, and at least into the one that int8 needs.

    Args:
        path: an ONNX file, which is written anew where something changes.
        request: what is asked for.

    Raises:
        CheckFailed: an opset was asked for that onnx's converter cannot give.
    """
    import onnx

    model = onnx.load(str(path))
    precision, before = _precision(model), opset_of(model)
    notes: list[str] = []
    if precision != "fp32":
        notes.append(
            f"the file computes in {precision} already, so it is the variant onnx-{precision} as it is"
        )
    wanted = _wanted(before, request)
    changed = hide_weights(model) if wanted is None else False
    if wanted is not None:
        try:
            model = with_opset(model, wanted)
        except OpsetError as error:
            if request.opset_origin is not None and wanted != LEAST:
                raise CheckFailed(
                    f"{request.source} cannot be converted to opset {wanted}: {error}",
                    expected=f"opset {wanted}, as {_asked(request)} says",
                    got=f"opset {before}",
                    hint=_HINT,
                ) from error
            notes.append(
                f"the file stays in opset {before}, because onnx cannot convert it to {wanted}: {error}"
            )
            changed = hide_weights(model)
        else:
            notes.append(f"the file was converted from opset {before} to {wanted}")
            changed = True
    elif changed:
        notes.append("weights that the file lists among its inputs are constants in the bundle")
    if changed:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return Upkeep(precision, tuple(notes))


def _wanted(opset: int, request: ExportRequest) -> int | None:
    """The opset to convert to; None where the file stays as it is."""
    if request.opset_origin is OpsetOrigin.OPTION:
        return None if opset == request.opset else request.opset
    if request.opset_origin is OpsetOrigin.TARGET and opset > request.opset:
        return request.opset
    return LEAST if opset < LEAST else None


def _asked(request: ExportRequest) -> str:
    return "--opset" if request.opset_origin is OpsetOrigin.OPTION else "the target"


def _precision(model: onnx.ModelProto) -> str:
    import onnx

    if any(node.op_type in _INTEGERS or node.op_type.startswith("QLinear") for node in model.graph.node):
        return "int8"
    sizes = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += tensor.ByteSize()
    return "fp16" if sizes[onnx.TensorProto.FLOAT16] > sizes[onnx.TensorProto.FLOAT] else "fp32"
