"""8-bit integers from the fp32 ONNX file: static, per channel, as QuantizeLinear and DequantizeLinear nodes.

Two kinds, because no one file is fast everywhere (docs/precision.md has the measurements):

- `int8`, for CPUs. Activations are uint8 with a zero point, so that the clipping of ReLU and ReLU6 is the
  saturation of the numbers and ONNX Runtime runs whole layers in integers.
- `int8sym`, for TensorRT, which takes nothing but int8 with zero point 0, and biases in floating point.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export.precision import calibration, gptq, graphs, sensitivity
from pinnace.export.precision.base import Conversion, ConversionInput
from pinnace.models.errors import CheckFailed, error_lines
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

# ONNX Runtime gives a softmax a zero point whatever it is asked for, and TensorRT takes none.
_NEVER_SYMMETRIC = frozenset({"Softmax"})


def convert(material: ConversionInput, path: Path, *, symmetric: bool) -> tuple[str, ...]:
    """Calibrate, find out which nodes to leave in fp32, quantise the rest, and write the file.

    Returns:
        Notes: how it was calibrated, and which nodes were left out.

    Raises:
        CheckFailed: the network cannot be quantised.
    """
    assert material.images is not None
    graphs.require_onnxruntime("int8")
    import onnx

    with tempfile.TemporaryDirectory(prefix="pinnace-int8-") as folder:
        prepared = Path(folder, "prepared.onnx")
        material.progress(Event(Stage.PREPARE_GRAPH))
        _prepare(material.path, prepared)
        found = calibration.ranges(
            prepared, material.input, material.images, material.method, material.progress
        )
        base = onnx.load(str(prepared))
    base = onnx.shape_inference.infer_shapes(base)
    graphs.name_nodes(base)
    everything = _quantise(base, found, symmetric, ())
    if not any(node.op_type == "QuantizeLinear" for node in everything.graph.node):
        raise CheckFailed("the network has no node that can be quantised to int8")
    integers = gptq.round_weights(base, everything, material)

    def quantise(left_out: Collection[str]) -> onnx.ModelProto:
        model = _quantise(base, found, symmetric, left_out)
        gptq.put(model, integers)
        return model

    left_out = sensitivity.nodes_to_leave_out(base, quantise, material)
    graphs.save(quantise(left_out), path)
    notes = [f"{path.stem} was calibrated with {len(material.images)} images, method {material.method}"]
    if left_out:
        notes.append(
            f"in {path.stem} {len(left_out)} nodes stay in fp32, because that brings its answers closer to "
            "the fp32 ones: " + ", ".join(left_out)
        )
    return tuple(notes)


def _prepare(source: Path, target: Path) -> None:
    try:
        with graphs.onnxruntime_tools():
            from onnxruntime.quantization.shape_inference import quant_pre_process

            # Symbolic shape inference helps transformers only and needs a package more.
            quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    except Exception as error:  # it runs an optimiser whose errors have classes of their own
        raise CheckFailed(f"the network cannot be prepared for int8: {error_lines(error)[0]}") from error


def _quantise(
    base: onnx.ModelProto, found: Any, symmetric: bool, left_out: Collection[str]
) -> onnx.ModelProto:
    """The QDQ graph with some nodes left in fp32."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry

    kinds = [kind for kind in QDQRegistry if not (symmetric and kind in _NEVER_SYMMETRIC)]
    options = {"ActivationSymmetric": True, "QuantizeBias": False} if symmetric else {}
    quantizer = QDQQuantizer(
        copy.deepcopy(base),
        True,  # per channel
        False,  # all eight bits of the weights
        QuantType.QInt8,
        QuantType.QInt8 if symmetric else QuantType.QUInt8,
        found,
        [],
        list(left_out),
        kinds,
        options,
    )
    quantizer.quantize_model()
    model: onnx.ModelProto = quantizer.model.model
    _leave_outputs(model)
    return model


def _leave_outputs(model: onnx.ModelProto) -> None:
    """Take the Q and DQ away from the graph's outputs.

    255 steps for all classes make ties of the best ones, and steps of the common offset of the logits would
    be larger than their differences.
    """
    graph = model.graph
    outputs = {value.name for value in graph.output}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for output in outputs:
        dequantise = makers.get(output)
        quantise = None if dequantise is None else makers.get(dequantise.input[0])
        if dequantise is None or quantise is None or quantise.op_type != "QuantizeLinear":
            continue
        plain = quantise.input[0]
        maker = makers.get(plain)
        if maker is None or readers[plain] > 1 or readers[dequantise.input[0]] > 1 or output in readers:
            continue
        maker.output[list(maker.output).index(plain)] = output
        graph.node.remove(dequantise)
        graph.node.remove(quantise)
        used = {name for node in graph.node for name in node.input}
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
            graph.initializer.remove(tensor)


def snippet(fp32: str, file: str, *, symmetric: bool) -> str:
    """Lines that quantise with ONNX Runtime alone, on the golden inputs."""
    options = "activation_type=QuantType.QUInt8"
    if symmetric:
        extra = '{"ActivationSymmetric": True, "QuantizeBias": False}'
        options = f"activation_type=QuantType.QInt8, extra_options={extra}"
    return f"""\
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader:
    def __init__(self):
        self.samples = iter(range(len(next(iter(inputs.values())))))

    def get_next(self):
        index = next(self.samples, None)
        return None if index is None else {{name: array[index : index + 1] for name, array in inputs.items()}}


quant_pre_process(str(DATA / {fp32!r}), "prepared.onnx", skip_symbolic_shape=True)
quantize_static(
    "prepared.onnx", {file!r}, Reader(), per_channel=True, weight_type=QuantType.QInt8, {options}
)
"""


def _int8(activations: str) -> Conversion:
    symmetric = activations == "int8"
    return Conversion(
        "int8",
        True,
        ("onnx", "onnxruntime"),
        functools.partial(convert, symmetric=symmetric),
        functools.partial(snippet, symmetric=symmetric),
        activations,
    )


INT8 = _int8("uint8")
INT8SYM = _int8("int8")
