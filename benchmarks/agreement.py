"""What the scripts that judge int8 share: how alike answers are, with intervals, and calls in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Answers = npt.NDArray[np.float32]
Errors = npt.NDArray[np.float64]

RESAMPLES = 2000
WARM_UPS = 5


def same_first(reference: Answers, answers: Answers) -> int:
    """How many photographs have the same first class; both of shape (photographs, classes)."""
    return int((reference.argmax(axis=1) == answers.argmax(axis=1)).sum())


def divergences(reference: Answers, answers: Answers) -> Errors:
    """Of each photograph, the Kullback-Leibler divergence of its classes from the reference's, in nats."""
    wanted, found = _log_softmax(reference), _log_softmax(answers)
    return np.asarray((np.exp(wanted) * (wanted - found)).sum(axis=1))


def noise_ratio(reference: Answers, answers: Answers) -> Errors:
    """Of each photograph, |answer - reference|^2 by the mean |reference - mean of the photographs|^2.

    What all photographs have in common says nothing of them, so it does not count. Minus ten times the
    logarithm of the mean is the ratio of signal to noise in decibels.
    """
    signal = ((reference - reference.mean(axis=0)) ** 2).sum(axis=1).mean()
    return np.asarray(((answers - reference).astype(np.float64) ** 2).sum(axis=1) / signal)


def interval(errors: Errors, group: int = 1) -> tuple[float, float]:
    """The 95 % interval of a mean: the photographs are drawn anew 2000 times.

    Args:
        errors: of each view.
        group: so many neighbours are views of one photograph, and are drawn together.
    """
    rng = np.random.default_rng(0)
    means = errors[: len(errors) // group * group].reshape(-1, group).mean(axis=1)
    drawn = means[rng.integers(0, len(means), (RESAMPLES, len(means)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 5
) -> dict[str, list[float]]:
    """Milliseconds of CPU time of a call, the median of each round; every round runs all of them in turn."""
    for call in calls.values():
        for _ in range(WARM_UPS):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken = []
            for _ in range(repeats):
                start = time.process_time()
                call()
                taken.append(1000 * (time.process_time() - start))
            times[name].append(statistics.median(taken))
    return times


def ratio(base: list[float], other: list[float]) -> float:
    """How many times faster the other is: the median over the rounds."""
    return statistics.median(first / second for first, second in zip(base, other, strict=True))


def _log_softmax(logits: Answers) -> Errors:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
