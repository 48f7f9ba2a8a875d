"""Compares a model with its golden outputs before it serves: one that has changed must not answer."""

from __future__ import annotations

import numpy as np

from pinnace.models.bundle.outputs import rows
from pinnace.models.errors import BundleError, CheckFailed
from pinnace.models.open_model import AnsweringModel

# For variants whose tolerance bounds no difference. Other CPUs and libraries round differently, and quantised
# kernels more so; wrong weights or a broken kernel are off by whole logits. So: 1 % of the logits' range, and
# three times what the variant was measured to deviate when it was exported.
_FLOOR = 0.01
_PARITY_FACTOR = 3.0

_SMALLEST = float(np.finfo(np.float32).tiny)


def self_check(model: AnsweringModel) -> float:
    """Run one golden input and compare the answer with the one that the eager model gave.

    Returns:
        The largest absolute difference, divided by the range of the golden answer of that sample.

    Raises:
        BundleError: the golden data lack the model's input or output.
        CheckFailed: the difference is out of bounds, or a value is not finite.
    """
    bundle = model.bundle
    signature = bundle.manifest.signature
    inputs, outputs = bundle.golden()
    try:
        samples = inputs[signature.inputs[0].name]
        expected = rows(outputs[str(model.outputs.name)])
    except KeyError as error:
        raise BundleError(
            f"the golden data of {bundle.folder} lack {error}", hint="export the model again"
        ) from None
    photographs = bundle.manifest.golden.photographs
    index = photographs[0].sample if photographs else 0
    answer = model.infer(samples[index : index + 1])[0]
    golden = np.asarray(expected[index], dtype=np.float32)
    # One value has no range of its own; that of all golden answers stands for it.
    spread = float(np.ptp(golden if golden.size > 1 else np.asarray(expected, np.float32)))
    spread = max(spread, float(np.finfo(np.float32).eps) * float(np.abs(golden).max()), _SMALLEST)
    difference = float(np.abs(answer - golden).max()) / spread
    allowed = model.runtime.tolerance(model.variant).max_rel
    if allowed is None:
        proved = model.variant.parity
        allowed = _FLOOR if proved is None else max(_FLOOR, _PARITY_FACTOR * proved.max_rel)
    if not difference <= allowed:  # this way round, NaN fails
        raise CheckFailed(
            f"{model.variant.name} in {model.runtime.name} does not give the golden outputs here",
            expected=f"an answer within {allowed:.3g} of its range",
            got=f"{difference:.3g}",
            hint=f"`pinnace verify {bundle.folder}` shows which variants and runtimes are good here",
        )
    return difference
