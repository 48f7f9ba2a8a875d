"""The proof of a precision: how far a variant's outputs lie from fp32 on photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pinnace.export.validation import parity
from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Golden
from pinnace.models.bundle.measurements import FEWEST_FOR_SHARES, Proof, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.cpus import available_cpus
from pinnace.models.predictions import DEFAULT_TOP_K
from pinnace.models.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from pinnace.export.validation.parity import Arrays, Floats
    from pinnace.models.runtimes.base import Runtime

# So many photographs are run at once.
BATCH = 8


@dataclass(frozen=True)
class Photographs:
    """Inputs made of photographs, and what fp32 answers.

    Attributes:
        inputs: by tensor name; first dimension the photograph.
        outputs: by tensor name; first dimension the photograph.
    """

    inputs: Arrays
    outputs: Arrays

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def run(runtime: Runtime, inputs: Arrays) -> golden.Arrays:
    """Run any number of samples, a few at a time; the outputs' first dimension is the sample."""
    count = len(next(iter(inputs.values())))
    results: golden.Arrays = {}
    for chosen, feeds in golden.calls(runtime.signature, inputs, (BATCH,)):
        for name, rows in golden.rows(runtime.signature, runtime.run(feeds)).items():
            if name not in results:
                results[name] = np.empty((count, *rows.shape[1:]), rows.dtype)
            results[name][chosen] = rows
    return results


def bulk_options(threads: int = 1, device: str | None = None) -> RuntimeOptions:
    """How a runtime is opened for many photographs: a call on each CPU, or on so many of them."""
    at_once = max(1, available_cpus() // threads)
    return RuntimeOptions(threads=threads, device=device, concurrency=at_once, batch=BATCH)


def pick(arrays: Arrays, samples: Sequence[int]) -> dict[str, npt.NDArray[np.generic]]:
    """Some samples of each array."""
    return {name: array[list(samples)] for name, array in arrays.items()}


def worst_first(want: Arrays, got: Arrays) -> list[int]:
    """The photographs by their mean difference over the range of the fp32 outputs, largest first."""
    errors = np.zeros(len(next(iter(want.values()))))
    for name, reference in want.items():
        fp32, answer = parity.rows(reference), parity.rows(got[name])
        difference = np.abs(fp32 - answer).mean(axis=1) / parity.ranges(fp32, fp32)
        errors = np.maximum(errors, np.nan_to_num(difference, nan=np.inf))
    return [int(index) for index in np.argsort(-errors, kind="stable")]


def compare(
    want: Arrays, got: Arrays, *, meaning: Outputs, runtime: str, scale: Arrays | None = None
) -> Proof:
    """Compare outputs by name with those of fp32; first dimension the photograph.

    Args:
        want: what fp32 answers.
        got: what the variant answers.
        meaning: what the outputs mean, which says what it is to give the same answer.
        runtime: the name of what ran the variant.
        scale: the outputs that set the scale; those of the photographs, where there are no others. A few
            photographs may have nearly the same one value.
    """
    scale = scale or want
    whole = parity.compare(want, got, scale, meaning=meaning, runtime=runtime)
    if not np.isfinite(whole.max_abs):
        inf, first = float("inf"), whole.top1_agreement
        return Proof(whole.samples, inf, inf, inf, inf, 0.0, first, first, runtime, whole.label_agreement)
    differences: list[Floats] = []
    mean_rel = 0.0
    overlap: float | None = None
    for name, reference in want.items():
        fp32, answer = parity.rows(reference), parity.rows(got[name])
        difference = np.abs(fp32 - answer)
        differences.append(difference)
        widths = parity.ranges(fp32, parity.rows(scale[name]))
        mean_rel = max(mean_rel, float((difference.mean(axis=1) / widths).max()))
        if name == meaning.name and whole.top1_agreement is not None:
            overlap = top_overlap(fp32, answer)
    total = sum(difference.size for difference in differences)
    return Proof(
        images=whole.samples,
        max_abs=whole.max_abs,
        mean_abs=float(sum(difference.sum() for difference in differences) / total),
        max_rel=whole.max_rel,
        mean_rel=mean_rel,
        cosine=whole.cosine,
        top1_agreement=whole.top1_agreement,
        top5_overlap=overlap,
        runtime=runtime,
        label_agreement=whole.label_agreement,
    )


def top_overlap(want: Floats, got: Floats) -> float:
    """Mean share of the five highest classes that both rows have; all of them where there are fewer."""
    k = min(DEFAULT_TOP_K, want.shape[1])
    first, second = (np.argsort(-rows, axis=1, kind="stable")[:, :k] for rows in (want, got))
    return float((first[:, :, None] == second[:, None, :]).any(axis=2).mean())


def excess(proof: Proof, tolerance: Tolerance) -> tuple[str, str] | None:
    """What a proof breaks of a tolerance, as (expected, got), or None where it keeps it."""
    if tolerance.max_rel is not None and not proof.max_rel <= tolerance.max_rel:
        return (
            f"at most {tolerance.max_rel:g} of the outputs' range",
            f"{proof.max_rel:.3g} (largest difference {proof.max_abs:.3g})",
        )
    if tolerance.max_mean_rel is not None and not proof.mean_rel <= tolerance.max_mean_rel:
        return (
            f"a mean difference of at most {tolerance.max_mean_rel:g} of the outputs' range",
            f"{proof.mean_rel:.3g} (mean difference {proof.mean_abs:.3g})",
        )
    if tolerance.min_cosine is not None and not proof.cosine >= tolerance.min_cosine:
        return f"cosine similarity of at least {tolerance.min_cosine:g}", f"{proof.cosine:.6g}"
    if proof.images < FEWEST_FOR_SHARES:
        return None
    shares = (
        ("top-1 agreement", proof.top1_agreement, tolerance.min_top1_agreement),
        ("top-5 overlap", proof.top5_overlap, tolerance.min_top5_overlap),
        ("label agreement", proof.label_agreement, tolerance.min_label_agreement),
    )
    for words, share, least in shares:
        if least is not None and share is not None and not share >= least:
            return f"{words} of at least {least:.1%}", f"{share:.1%} of {proof.images} photographs"
    return None


def judged(
    stored: Golden, inputs: Arrays, outputs: Arrays, tolerance: Tolerance
) -> tuple[Arrays, Arrays, Tolerance]:
    """The golden inputs and outputs that a tolerance is judged on, and what of it can be judged there.

    fp32 is judged on all of them, low precisions on the photographs, which are too few for shares.
    """
    samples = [photograph.sample for photograph in stored.photographs]
    if not tolerance.photographs_only or not samples:
        return inputs, outputs, tolerance
    return (
        pick(inputs, samples),
        pick(outputs, samples),
        replace(tolerance, min_top1_agreement=None, min_top5_overlap=None, min_label_agreement=None),
    )
