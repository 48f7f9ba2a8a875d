"""8-bit integers from the fp32 ONNX file: static, per channel, as QuantizeLinear and DequantizeLinear nodes.

Two kinds, because no one file is fast everywhere (docs/precision.md has the measurements):

- `int8`, for CPUs. Activations are uint8 with a zero point, so that the clipping of ReLU and ReLU6 is the
  saturation of the numbers and ONNX Runtime runs whole layers in integers.
- `int8sym`, for TensorRT, which takes nothing but int8 with zero point 0, and biases in floating point.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from pinnace.export.precision import calibration, gptq, graphs, qdq, race, sensitivity
from pinnace.export.precision.base import Conversion, ConversionInput, Converted
from pinnace.export.precision.recipes.base import CalibratedNetwork
from pinnace.models.errors import CheckFailed
from pinnace.models.progress import Event, Stage


def convert(material: ConversionInput, path: Path, *, symmetric: bool) -> Converted:
    """Calibrate, find out which nodes to leave in fp32, race the recipes, and write what the best one gives.

    Returns:
        Notes: how it was calibrated, which nodes were left out, and which recipe was taken.

    Raises:
        CheckFailed: the network cannot be quantised.
    """
    assert material.images is not None
    graphs.require_onnxruntime("int8")
    import onnx

    material, held_out = race.hold_out(material)
    with tempfile.TemporaryDirectory(prefix="pinnace-int8-") as folder:
        prepared = Path(folder, "prepared.onnx")
        material.progress(Event(Stage.PREPARE_GRAPH))
        qdq.prepare(material.path, prepared)
        base = onnx.load(str(prepared))
    base = onnx.shape_inference.infer_shapes(base)
    graphs.name_nodes(base)
    ranges = calibration.ranges_of(base, material)
    everything = qdq.quantise(base, ranges, symmetric, ())
    if not any(node.op_type == "QuantizeLinear" for node in everything.graph.node):
        raise CheckFailed("the network has no node that can be quantised to int8")
    integers = gptq.round_weights(base, everything, material)
    gptq.put(everything, integers)
    again = qdq.Requantiser(base, ranges, symmetric, everything)
    left_out = sensitivity.nodes_to_leave_out(base, again, material)
    model, quantisation = race.run(
        CalibratedNetwork(base, ranges, material, symmetric, integers, left_out), held_out
    )
    graphs.save(model, path)
    notes = [f"{path.stem} was calibrated with {quantisation.images} images, method {material.method}"]
    if left_out:
        notes.append(
            f"in {path.stem} {len(left_out)} nodes stay in fp32, because that brings its answers closer to "
            "the fp32 ones: " + ", ".join(left_out)
        )
    if quantisation.race:
        notes.append(race.note(path.stem, quantisation))
    return Converted(tuple(notes), quantisation)


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
