"""Models left in training mode: their answer to an image depends on its neighbours, or on chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import BATCH, Signature
from pinnace.models.errors import CheckFailed

if TYPE_CHECKING:
    import onnx

EVAL = "call model.eval() before the model is exported, and export it again"

# So many images stand in one batch, and the answers may differ by this share of their range.
_IMAGES = 4
_SHARE = 0.01
_OVER_IMAGES = (
    "softmax and normalisations have to go over the classes or channels (dim=1), not over the images (dim=0)"
)


def require_independent(
    run: ModelFunction, signature: Signature, inputs: Arrays, outputs: Arrays, *, exported: bool = True
) -> None:
    """Refuse an image model that answers otherwise when an image has other neighbours in its batch.

    Args:
        run: the model.
        signature: its inputs and outputs.
        inputs: golden inputs.
        outputs: its answers to each of them alone; with a batch of fixed size, among copies of the others.
        exported: it comes from an exported file. Of others only those are looked at that answer the same to
            every image alone, as a softmax over the images of a batch does.

    Raises:
        CheckFailed: an answer differs.
    """
    batch, samples = signature.batch, len(next(iter(inputs.values())))
    if batch is None or batch == 1 or samples < 2:
        return
    if not exported and any((array != array[:1]).any() for array in outputs.values()):
        return  # one that branches on the mean of its batch is for the formats to refuse, with their reasons
    count = min(_IMAGES, samples) if batch == BATCH else int(batch)
    chosen = np.arange(count)[::-1] % samples
    together = run({name: array[chosen] for name, array in inputs.items()})
    share = max(_difference(outputs[name][chosen], array) for name, array in together.items())
    if not share <= _SHARE:
        raise CheckFailed(
            "the answer to an image depends on the other images of its batch"
            + (": the model was exported in training mode, or mixes images itself" if exported else ""),
            expected="the same answer, whatever else is in the batch",
            got=f"a difference of {share:.2g} of the range of the answers",
            hint=f"{EVAL} (in Keras, model(x, training=False)); {_OVER_IMAGES}" if exported else _OVER_IMAGES,
        )


def _difference(alone: npt.NDArray[np.generic], among: npt.NDArray[np.generic]) -> float:
    one, other = (np.asarray(array, np.float64).reshape(len(array), -1) for array in (alone, among))
    if one.shape != other.shape:
        return 0.0  # another check speaks of shapes
    spread = float(np.ptp(one)) or float(np.abs(one).max()) or 1.0
    return float(np.nan_to_num(np.abs(one - other), nan=np.inf).max()) / spread


def require_inference(model: onnx.ModelProto) -> None:
    """Refuse an ONNX graph that has nodes of training in it.

    Raises:
        CheckFailed: a batch normalisation takes its mean from the batch, or a dropout drops.
    """
    constants = _constants(model)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and any(
            attribute.name == "training_mode" and attribute.i for attribute in node.attribute
        ):
            what = "takes the mean of the batch, so the answer to an image depends on the other images of it"
        elif node.op_type == "Dropout" and len(node.input) > 2 and constants.get(node.input[2], False):
            if not constants.get(node.input[1], True):
                continue  # of a share of nothing
            what = "drops at random, so the answer is another each time"
        else:
            continue
        raise CheckFailed(
            f"the file was exported in training mode: its node {node.name or node.output[0]} "
            f"({node.op_type}) {what}",
            hint=EVAL,
        )


def _constants(model: onnx.ModelProto) -> Mapping[str, float]:
    """The graph's constants of one element, by name."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    return {
        name: float(numpy_helper.to_array(tensor).ravel()[0])
        for name, tensor in tensors.items()
        if np.prod(tensor.dims, dtype=int) == 1
    }
