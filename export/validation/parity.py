"""Parity: how far a variant's outputs lie from the eager model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Parity, Tolerance
from pinnace.models.runtimes.base import Runtime

Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]

BATCHES = (1, 3, 16)

# A sample whose outputs hardly vary is measured against this share of the range over all samples.
_SMALLEST_RANGE = 1e-3


def measure(
    runtime: Runtime, inputs: Arrays, outputs: Arrays, *, classes: bool, batches: Sequence[int] = BATCHES
) -> Parity:
    """Run every golden sample in every batch size and compare with the eager outputs.

    Args:
        runtime: an open runtime.
        inputs: golden inputs by name; first dimension the sample.
        outputs: eager outputs by name, one sample at a time.
        classes: the output is one row of logits, so its arg-max means something.
        batches: batch sizes, where the model takes any; see `pinnace.models.bundle.golden.calls`.

    Returns:
        The worst over all samples, outputs and batch sizes; the agreement is the share of all samples in the
        worst batch size.
    """
    samples = len(next(iter(inputs.values())))
    parities = []
    agreed: dict[int, npt.NDArray[np.bool_]] = {}
    for chosen, feeds in golden.calls(runtime.signature, inputs, batches):
        got = golden.rows(runtime.signature, runtime.run(feeds))
        want = {name: array[chosen] for name, array in outputs.items()}
        parities.append(compare(want, got, outputs, classes=classes, runtime=runtime.name))
        if classes:
            agreed.setdefault(len(chosen), np.ones(samples, np.bool_))[chosen] &= _same_first(want, got)
    agreements = [float(same.mean()) for same in agreed.values()]
    return Parity(
        max_abs=max(parity.max_abs for parity in parities),
        max_rel=max(parity.max_rel for parity in parities),
        cosine=min(parity.cosine for parity in parities),
        top1_agreement=min(agreements, default=None),
        samples=samples,
        runtime=runtime.name,
    )


def compare(want: Arrays, got: Arrays, everything: Arrays, *, classes: bool, runtime: str) -> Parity:
    """Compare outputs with the eager model's; first dimension the sample.

    Args:
        want: eager outputs by name.
        got: what the runtime gave.
        everything: the eager outputs of all golden samples, which set the scale.
        classes: see `measure`.
        runtime: the runtime's name.
    """
    max_abs, max_rel, cosine = 0.0, 0.0, 1.0
    agreement: float | None = None
    for name, reference in want.items():
        eager, answer = rows(reference), rows(got[name])
        if eager.shape != answer.shape or not np.isfinite(answer).all():
            return Parity(np.inf, np.inf, 0.0, 0.0 if classes else None, len(eager), runtime)
        difference = np.abs(eager - answer).max(axis=1)
        max_abs = max(max_abs, float(difference.max()))
        max_rel = max(max_rel, float((difference / ranges(eager, rows(everything[name]))).max()))
        cosine = min(cosine, float(_cosines(eager, answer).min()))
        if classes:
            agreement = float(_same_first(want, got).mean())
    return Parity(max_abs, max_rel, cosine, agreement, len(next(iter(want.values()))), runtime)


def _same_first(want: Arrays, got: Arrays) -> npt.NDArray[np.bool_]:
    """Which samples of a classifier have the same arg-max; none where the answers are none."""
    ((name, reference),) = want.items()
    eager, answer = rows(reference), rows(got[name])
    if eager.shape != answer.shape:
        return np.zeros(len(eager), np.bool_)
    same: npt.NDArray[np.bool_] = eager.argmax(axis=1) == answer.argmax(axis=1)
    return same & np.isfinite(answer).all(axis=1)


def excess(parity: Parity, tolerance: Tolerance) -> tuple[str, str] | None:
    """What a parity breaks of a tolerance, as (expected, got), or None where it keeps it."""
    if tolerance.max_rel is not None and not parity.max_rel <= tolerance.max_rel:
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
    return None


def rows(array: npt.NDArray[np.generic]) -> Floats:
    """Outputs as float64, one row for each sample."""
    return np.asarray(array, dtype=np.float64).reshape(len(array), -1)


def ranges(eager: Floats, everything: Floats) -> Floats:
    """The range (max - min) of each row, but no less than a thousandth of the range of `everything`."""
    overall = float(np.ptp(everything))
    widths = np.ptp(eager, axis=1) if eager.shape[1] > 1 else np.full(len(eager), overall)
    floor = max(_SMALLEST_RANGE * overall, float(np.finfo(np.float32).eps) * float(np.abs(everything).max()))
    return np.asarray(np.maximum(widths, floor or 1.0))


def _cosines(eager: Floats, answer: Floats) -> Floats:
    norms = np.linalg.norm(eager, axis=1) * np.linalg.norm(answer, axis=1)
    dots = (eager * answer).sum(axis=1)
    same = (eager == answer).all(axis=1)
    cosines: Floats = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    cosines[same] = 1.0
    return cosines
