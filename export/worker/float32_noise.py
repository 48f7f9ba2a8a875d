"""How exact a network in float32 is: its answers to the golden inputs against its own in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinnace.export.validation import parity
from pinnace.export.worker import eager_model
from pinnace.export.worker.golden_outputs import ModelFunction, golden_outputs
from pinnace.export.worker.inspect_model import ModelInspection
from pinnace.models.bundle import golden
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import PinnaceError

if TYPE_CHECKING:
    import torch

# A network with more bytes of weights is not copied into float64, which takes twice as many.
_LARGEST = 1 << 30

# How often an input is halved.
_HALVINGS = 6


@dataclass(frozen=True)
class Exactness:
    """What was found.

    Attributes:
        noise: for each golden sample, how far float32 is off from float64, in the unit of `Parity.max_rel`;
            empty where the network does not run in float64, or where most samples are off by more than the
            bound, so that nothing could be proved with bounds that allow for it.
        inspection: the model's, with tamer inputs in the place of those on which it is off by more than the
            bound.
        notes: sentences for the user.
    """

    noise: tuple[float, ...]
    inspection: ModelInspection
    notes: tuple[str, ...] = ()


def measure(
    module: torch.nn.Module, run: ModelFunction, inspection: ModelInspection, bound: float | None
) -> Exactness:
    """Run the network in float64 and replace the golden inputs on which float32 says little.

    Photographs stay: they are in the bundle as files, and what a model is for.

    Args:
        module: the network, in eval mode; it is copied.
        run: the network in float32.
        inspection: what was learnt of it.
        bound: how far an fp32 variant may be off; None where that is not bounded.
    """
    exact = _in_float64(module)
    signature, inputs, outputs = inspection.signature, inspection.inputs, inspection.outputs
    found = None if exact is None else _noise(exact, signature, inputs, outputs, outputs)
    if exact is None or found is None:
        return Exactness((), inspection)
    if bound is None or found.max() <= bound:
        return Exactness(_rounded(found), inspection)
    if np.median(found) > bound:
        note = (
            f"in float32 the network is off from itself in float64 by {np.median(found):.2g} of the outputs' "
            f"range on half of the golden inputs: rounding decides what it answers"
        )
        return Exactness((), inspection, (note,))
    inputs, outputs = ({name: array.copy() for name, array in each.items()} for each in (inputs, outputs))
    notes = []
    for sample in np.flatnonzero(found > bound):
        before = found[sample]
        said = f"in float32 the network is off from itself in float64 by {before:.2g} of the outputs' range"
        tamer = None
        if sample >= inspection.photographs:
            tamer = _tamer(exact, run, signature, inputs, inspection.outputs, int(sample), bound)
        if tamer is None:
            notes.append(f"on golden input {sample} {said}, and the bound there is wider by as much")
            continue
        for arrays, new in ((inputs, tamer.inputs), (outputs, tamer.outputs)):
            for name, array in new.items():
                arrays[name][sample] = array[0]
        found[sample] = tamer.noise
        notes.append(f"golden input {sample} was divided by {tamer.divisor}, because there {said}")
    return Exactness(_rounded(found), replace(inspection, inputs=inputs, outputs=outputs), tuple(notes))


def _rounded(noise: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{each:.3g}") for each in noise)


@dataclass(frozen=True)
class _Tamer:
    inputs: Arrays
    outputs: Arrays
    noise: float
    divisor: int


def _tamer(
    exact: ModelFunction,
    run: ModelFunction,
    signature: Signature,
    inputs: Arrays,
    everything: Arrays,
    sample: int,
    bound: float,
) -> _Tamer | None:
    """A golden sample divided by 2, 4, ..., until float32 is exact enough on it; None where it never is."""
    for divisor in (2**power for power in range(1, _HALVINGS + 1)):
        smaller = {name: array[sample : sample + 1] for name, array in inputs.items()}
        smaller = {
            name: (array / divisor).astype(array.dtype) if array.dtype.kind == "f" else array
            for name, array in smaller.items()
        }
        try:
            outputs = golden_outputs(run, signature, smaller)
        except PinnaceError:
            return None
        noise = _noise(exact, signature, smaller, outputs, everything)
        if noise is not None and noise[0] <= bound:
            return _Tamer(smaller, outputs, float(noise[0]), divisor)
    return None


def _in_float64(module: torch.nn.Module) -> ModelFunction | None:
    """The network in float64; None where it is too large for a copy, or cannot be copied."""
    if sum(getattr(value, "nbytes", 0) for value in module.state_dict().values()) > _LARGEST:
        return None
    try:
        run = eager_model.model_function(copy.deepcopy(module).double(), hint="")
    except Exception:  # what a network of somebody else's raises when it is copied
        return None

    def exact(feeds: Arrays) -> Arrays:
        return run(
            {
                name: array.astype(np.float64) if array.dtype == np.float32 else array
                for name, array in feeds.items()
            }
        )

    return exact


def _noise(
    exact: ModelFunction, signature: Signature, inputs: Arrays, outputs: Arrays, everything: Arrays
) -> npt.NDArray[np.float64] | None:
    """How far float32 is off for each sample; None where the network does not run in float64."""
    samples = len(next(iter(inputs.values())))
    worst = np.zeros(samples)
    for chosen, feeds in golden.calls(signature, inputs, (1,)):
        try:
            answers = golden.rows(signature, exact(feeds))
        except PinnaceError:
            return None  # a dtype is written into its code, or an operator knows no float64
        found = _off(outputs, answers, everything, chosen)
        if found is None:
            return None
        worst[chosen] = np.maximum(worst[chosen], found)
    return worst


def _off(
    outputs: Arrays, exact: Arrays, everything: Arrays, chosen: Sequence[int] | npt.NDArray[np.intp]
) -> npt.NDArray[np.float64] | None:
    want = {name: array[chosen] for name, array in outputs.items()}
    if want.keys() != exact.keys() or any(want[name].shape != exact[name].shape for name in want):
        return None
    found = parity.differences(exact, want, everything)
    return found if bool(np.isfinite(found).all()) else None
