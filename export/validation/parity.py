"""Parity: how far a variant's outputs lie from the eager model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Golden, Variant
from pinnace.models.bundle.measurements import Parity, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.predictions import batch_scores
from pinnace.models.runtimes.base import Runtime

Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]

BATCHES = (1, 3, 16)

# An fp32 variant may be off by the bound and by so many times what eager float32 itself is off from float64.
NOISE_FACTOR = 4

# However ill-conditioned a network is: a comparison that allows more could not fail.
_MOST_ALLOWED = 0.1

# A sample whose outputs hardly vary is measured against this share of the range over all samples.
_SMALLEST_RANGE = 1e-3
# A bound of a thousandth of the range is then four steps.
_FEWEST_STEPS = 4096


def measure(
    runtime: Runtime,
    inputs: Arrays,
    outputs: Arrays,
    *,
    meaning: Outputs,
    batches: Sequence[int] = BATCHES,
    noise: Sequence[float] = (),
) -> Parity:
    """Run every golden sample in every batch size and compare with the eager outputs.

    Args:
        runtime: an open runtime.
        inputs: golden inputs by name; first dimension the sample.
        outputs: eager outputs by name, one sample at a time.
        meaning: what the outputs mean, which says what it is to give the same answer.
        batches: batch sizes, where the model takes any; see `pinnace.models.bundle.golden.calls`.
        noise: what the eager model itself is off for each sample; see `noise_of`.

    Returns:
        The worst over all samples, outputs and batch sizes; an agreement is the mean over all samples in the
        worst batch size.
    """
    samples = len(next(iter(inputs.values())))
    parities = []
    agreed: dict[int, Floats] = {}
    beyond: float | None = 0.0 if noise else None
    for chosen, feeds in golden.calls(runtime.signature, inputs, batches):
        got = golden.rows(runtime.signature, runtime.run(feeds))
        want = {name: array[chosen] for name, array in outputs.items()}
        parities.append(compare(want, got, outputs, meaning=meaning, runtime=runtime.name))
        if beyond is not None:
            allowed = np.minimum(NOISE_FACTOR * np.asarray(noise)[chosen], _MOST_ALLOWED)
            off = differences(want, got, outputs) - allowed
            # An infinite difference stays one: the range may be infinite too.
            beyond = max(beyond, float(off.max()) if np.isfinite(parities[-1].max_rel) else np.inf)
        if meaning.is_classifier:
            worst = agreed.setdefault(len(chosen), np.ones(samples))
            np.minimum.at(worst, chosen, _agreements(want, got, meaning))
    agreement = min((float(each.mean()) for each in agreed.values()), default=None)
    return Parity(
        max_abs=max(parity.max_abs for parity in parities),
        max_rel=max(parity.max_rel for parity in parities),
        cosine=min(parity.cosine for parity in parities),
        top1_agreement=None if meaning.several_labels else agreement,
        samples=samples,
        runtime=runtime.name,
        label_agreement=agreement if meaning.several_labels else None,
        max_rel_beyond_noise=beyond,
    )


def noise_of(stored: Golden, variant: Variant, tolerance: Tolerance) -> tuple[float, ...]:
    """What the eager model is off for each golden sample, where a variant is allowed it.

    Only one that computes in fp32 is, in a runtime that does: other precisions have bounds of their own, far
    above it.

    Args:
        stored: the bundle's golden data.
        variant: the variant.
        tolerance: what it has to keep in the runtime.
    """
    return stored.float32_noise if variant.precision == "fp32" and tolerance == variant.tolerance else ()


def differences(want: Arrays, got: Arrays, everything: Arrays) -> Floats:
    """The largest difference of each sample over the range of what is wanted.

    It is infinite where an answer is not finite.

    Args:
        want: by name; first dimension the sample.
        got: likewise.
        everything: the eager outputs of all golden samples, which set the scale.
    """
    worst = np.zeros(len(next(iter(want.values()))))
    for name, reference in want.items():
        eager, answer = rows(reference), rows(got[name])
        if eager.shape != answer.shape:
            return np.full(len(worst), np.inf)
        off = np.abs(eager - answer).max(axis=1) / ranges(eager, rows(everything[name]))
        worst = np.maximum(worst, np.where(np.isfinite(off), off, np.inf))
    return worst


def compare(want: Arrays, got: Arrays, everything: Arrays, *, meaning: Outputs, runtime: str) -> Parity:
    """Compare outputs with the eager model's; first dimension the sample.

    Args:
        want: eager outputs by name.
        got: what the runtime gave.
        everything: the eager outputs of all golden samples, which set the scale.
        meaning: see `measure`.
        runtime: the runtime's name.
    """
    max_abs, max_rel, cosine = 0.0, 0.0, 1.0
    samples = len(next(iter(want.values())))
    agreement = float(_agreements(want, got, meaning).mean()) if meaning.is_classifier else None
    agreements = (None, agreement) if meaning.several_labels else (agreement, None)
    for name, reference in want.items():
        eager, answer = rows(reference), rows(got[name])
        measured = None if eager.shape != answer.shape else _distances(eager, answer, rows(everything[name]))
        # Python's max and min pass over NaN in their second argument, so each is looked at here.
        if measured is None or not np.isfinite(measured).all():
            none = [None if each is None else 0.0 for each in agreements]
            return Parity(np.inf, np.inf, 0.0, none[0], samples, runtime, none[1])
        max_abs, max_rel = max(max_abs, measured[0]), max(max_rel, measured[1])
        cosine = min(cosine, measured[2])
    return Parity(max_abs, max_rel, cosine, agreements[0], samples, runtime, agreements[1])


def _distances(eager: Floats, answer: Floats, everything: Floats) -> tuple[float, float, float]:
    """The largest difference, the same over the range of the eager outputs, and the smallest cosine.

    One of them is not finite where a value is not, or where a difference or a norm is beyond float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.abs(eager - answer).max(axis=1)
        widths = ranges(eager, everything)
        relative = np.where(np.isfinite(widths), difference / widths, np.inf)
        return float(difference.max()), float(relative.max()), float(_cosines(eager, answer).min())


def _agreements(want: Arrays, got: Arrays, meaning: Outputs) -> Floats:
    """How far each sample has the same answer, 0 to 1; 0 where the answers are none.

    1 where the same class comes first. Where several labels may be true, the share of the labels that reach
    the threshold for one of the two, that reach it for both (the Jaccard index), and 1 where none does.
    """
    assert meaning.name is not None
    reference, answered = want[meaning.name], got[meaning.name]
    eager, answer = rows(reference), rows(answered)
    if eager.shape != answer.shape:
        return np.zeros(len(eager))
    finite = np.asarray(np.isfinite(answer).all(axis=1))
    if meaning.threshold is None and eager.shape[1] > 1:
        return np.asarray(finite & (eager.argmax(axis=1) == answer.argmax(axis=1)), np.float64)
    first = batch_scores(eager, meaning)
    second = batch_scores(np.where(finite[:, None], answer, 0.0), meaning)
    if meaning.threshold is None:
        return np.asarray(finite & (first.argmax(axis=1) == second.argmax(axis=1)), np.float64)
    one, other = first >= meaning.threshold, second >= meaning.threshold
    both, either = (one & other).sum(axis=1), (one | other).sum(axis=1)
    same: Floats = np.divide(both, either, out=np.ones(len(one)), where=either > 0)
    return np.asarray(finite * same)


def demands_something(tolerance: Tolerance) -> bool:
    """Whether there is a parity that breaks it."""
    bounds = (tolerance.max_rel, tolerance.min_cosine)
    shares = (tolerance.min_top1_agreement, tolerance.min_label_agreement)
    return any(bound is not None for bound in (*bounds, *shares))


def excess(parity: Parity, tolerance: Tolerance) -> tuple[str, str] | None:
    """What a parity breaks of a tolerance, as (expected, got), or None where it keeps it."""
    off = parity.max_rel if parity.max_rel_beyond_noise is None else parity.max_rel_beyond_noise
    if tolerance.max_rel is not None and not off <= tolerance.max_rel:
        return (
            f"at most {tolerance.max_rel:g} of the outputs' range",
            f"{parity.max_rel:.3g} (largest difference {parity.max_abs:.3g})",
        )
    if tolerance.min_cosine is not None and not parity.cosine >= tolerance.min_cosine:
        return f"cosine similarity of at least {tolerance.min_cosine:g}", f"{parity.cosine:.6g}"
    agreement = parity.top1_agreement
    least = tolerance.min_top1_agreement
    if least is not None and agreement is not None and not agreement >= least:
        return f"top-1 agreement of at least {least:.1%}", f"{agreement:.1%}"
    least = tolerance.min_label_agreement
    if least is not None and parity.label_agreement is not None and not parity.label_agreement >= least:
        return f"label agreement of at least {least:.1%}", f"{parity.label_agreement:.1%}"
    return None


def says_nothing(outputs: Arrays, meaning: Outputs, tolerance: Tolerance) -> str | None:
    """Why a comparison with these outputs proves nothing, in a sentence; None where it does.

    It does not where a file would pass that answers the same to every input: a network whose head is all
    zeros, or one that has died.

    Args:
        outputs: the golden outputs by name; first dimension the sample.
        meaning: what they mean.
        tolerance: what is demanded of fp32; where that is nothing, only answers that are equal are the same.
    """
    if not demands_something(tolerance):
        tolerance = Tolerance(max_rel=0.0)
    if not any(np.any(array) for array in outputs.values()):
        what = "every golden answer is 0"
    else:
        same = {name: np.broadcast_to(array[:1], array.shape) for name, array in outputs.items()}
        samples = len(next(iter(outputs.values())))
        if samples < 2 or excess(compare(outputs, same, outputs, meaning=meaning, runtime=""), tolerance):
            return None
        what = f"the golden answers to {samples} different inputs are the same"
    return (
        f"{what}, so the comparison with them says nothing: a file that always answers this would pass as "
        "well. Train the network, or give it the trained weights"
    )


def rows(array: npt.NDArray[np.generic]) -> Floats:
    """Outputs as float64, one row for each sample."""
    return np.asarray(array, dtype=np.float64).reshape(len(array), -1)


def ranges(eager: Floats, everything: Floats) -> Floats:
    """The range (max - min) of each row, but no less than a thousandth of the range of `everything`.

    Nor less than 4096 steps of float32 at the largest value: what an untrained network answers hardly
    varies, and its last bits are another runtime's own.
    """
    overall = float(np.ptp(everything))
    widths = np.ptp(eager, axis=1) if eager.shape[1] > 1 else np.full(len(eager), overall)
    step = float(np.finfo(np.float32).eps) * float(np.abs(everything).max())
    floor = max(_SMALLEST_RANGE * overall, _FEWEST_STEPS * step)
    return np.asarray(np.maximum(widths, floor or 1.0))


def _cosines(eager: Floats, answer: Floats) -> Floats:
    norms = np.linalg.norm(eager, axis=1) * np.linalg.norm(answer, axis=1)
    dots = (eager * answer).sum(axis=1)
    same = (eager == answer).all(axis=1)
    cosines: Floats = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    cosines[same] = 1.0
    return cosines
