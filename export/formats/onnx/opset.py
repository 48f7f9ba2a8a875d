"""The opset of an ONNX graph: read, and changed by onnx's own converter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pinnace.export.formats.onnx.external import Weight, remove_weights, with_inputs

if TYPE_CHECKING:
    import onnx

# What quantisation per channel needs.
LEAST = 13

# torch.onnx.export with dynamo writes this one and, by a converter, others.
NATIVE = 18

_DOMAINS = ("", "ai.onnx")


class OpsetError(ValueError):
    """A graph cannot be had in an opset; the message is why, in one line."""


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that a model is written in."""
    return next((one.version for one in model.opset_import if one.domain in _DOMAINS), 1)


def with_opset(
    model: onnx.ModelProto, opset: int, weights: Mapping[str, Weight] | None = None
) -> onnx.ModelProto:
    """The same graph in another opset, with the oldest IR version that goes with it.

    A runtime that knows no newer opset mostly knows no newer IR version either.

    Args:
        model: the graph.
        opset: the version of the standard operators.
        weights: those of its weights that are not in it.

    Raises:
        OpsetError: onnx's converter cannot.
    """
    import onnx
    from onnx import version_converter

    try:
        converted: onnx.ModelProto = version_converter.convert_version(
            with_inputs(model, weights) if weights else model, opset
        )
    except Exception as error:  # the C++ side raises RuntimeError, and other classes of its own
        raise OpsetError(_reason(error)) from error
    if opset_of(converted) != opset:
        raise OpsetError(f"onnx's converter left it at {opset_of(converted)}")
    converted.ir_version = onnx.helper.find_min_ir_version_for(list(converted.opset_import), True)
    hide_weights(converted)
    try:
        onnx.checker.check_model(converted, full_check=True)
    except Exception as error:
        raise OpsetError(f"onnx's converter makes a broken graph of it: {_reason(error)}") from error
    remove_weights(converted, weights or {})
    return converted


def hide_weights(model: onnx.ModelProto) -> bool:
    """Take the weights off the list of inputs, where old files have them; whether there were any.

    Since IR version 4 a weight that is also an input is one that a caller may replace, so that nothing can
    be computed of it beforehand.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) == len(model.graph.input):
        return False
    kept = [type(value).FromString(value.SerializeToString()) for value in inputs]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)
    return True


def _reason(error: BaseException) -> str:
    """The end of the last line, without the paths of the C++ sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text.rpartition("failed: ")[2] or text
