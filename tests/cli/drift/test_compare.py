"""Chance is no drift, and a drift that was planted is found among 500 images."""

from __future__ import annotations

import numpy as np
import pytest

from pinnace.cli.drift import stability as module
from pinnace.cli.drift.bins import REST_BINS, Binned, bin_classes, bin_numbers
from pinnace.cli.drift.compare import Feature, compare
from pinnace.cli.drift.stability import Stability, stability, stability_index
from pinnace.models.records.observations import Observations
from support.records import LABELS, draw


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 99)


def drifted(first: Observations, second: Observations) -> set[str]:
    return {each.name for each in compare(first, second, labels=tuple(LABELS)) if each.verdict == "drift"}


@pytest.mark.parametrize("uniform", [False, True])
def test_two_halves_of_one_record_are_the_same(uniform: bool) -> None:
    record = draw(500, 1, uniform=uniform)
    random = np.random.default_rng(2)
    found = 0
    for _ in range(100):
        order = random.permutation(500)
        found += bool(drifted(record.pick(order[:250]), record.pick(order[250:])))
    assert found <= 5


@pytest.mark.parametrize(
    ("shift", "uniform", "expected"),
    [
        ("classes", False, {"classes"}),
        ("classes", True, {"classes"}),
        ("camera", False, {"size", "bytes"}),
        ("light", False, {"brightness"}),
        ("", False, set()),
    ],
)
def test_a_planted_drift_is_found_with_500_images_and_nothing_else(
    shift: str, uniform: bool, expected: set[str]
) -> None:
    reference = draw(2000, 3, uniform=uniform)
    for seed in range(10, 13):
        assert drifted(reference, draw(500, seed, uniform=uniform, shift=shift)) == expected


def test_the_index_is_the_one_of_the_formula() -> None:
    first, second = np.array([300.0, 500.0, 200.0]), np.array([100.0, 500.0, 400.0])
    p, q = (first + 0.5) / 1001.5, (second + 0.5) / 1001.5
    expected = sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True))
    assert stability_index(first, second) == pytest.approx(expected)
    both = stability_index(np.stack([first, first]), np.stack([second, first]))
    assert both == pytest.approx([expected, 0])
    codes = [np.repeat(np.arange(3), counts.astype(int)) for counts in (first, second)]
    found = stability(Binned(codes[0], codes[1], ("a", "b", "c")))
    assert found.index == pytest.approx(expected)
    assert 0.2 < found.low < found.index < found.high < 0.8


def test_a_larger_sample_is_drawn_from_for_the_interval_alone() -> None:
    random = np.random.default_rng(4)
    large = Binned(random.integers(0, 4, 200_000), random.integers(0, 4, 200_000), tuple("abcd"))
    found = stability(large)
    assert found.index < 0.001
    assert found.high < 0.02


def test_values_that_are_all_the_same_have_a_bin_of_their_own() -> None:
    same = bin_numbers(np.full(50, 3.0), np.full(70, 3.0))
    assert (same.names, set(same.first), set(same.second)) == (("3",), {0}, {0})
    assert stability(same) == Stability(0, 0, 0)
    moved = bin_numbers(np.full(50, 3.0), np.full(70, 5.0))
    assert (moved.names, set(moved.first), set(moved.second)) == (("up to 3", "above 3"), {0}, {1})
    few = bin_numbers(np.repeat([1.0, 2.0], 50), np.repeat([1.0, 2.0, 9.0], [10, 10, 80]))
    assert few.names == ("up to 1", "1 to 2", "above 2")
    assert few.shares[1] == pytest.approx([0.1, 0.1, 0.8])


def test_numbers_have_ten_bins_of_which_both_samples_have_their_part() -> None:
    random = np.random.default_rng(5)
    binned = bin_numbers(random.normal(0, 1, 3000), random.normal(0, 1, 300))
    assert len(binned.names) == 10
    for shares in binned.shares:
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.07)
    assert sum(binned.shares) / 2 == pytest.approx(np.full(10, 0.1), abs=0.004)


def test_frequent_classes_stand_alone_and_neighbours_together() -> None:
    first = np.array(["cat"] * 40 + ["dog"] * 30 + [f"rare {n:02d}" for n in range(30)])
    second = np.array(["cat"] * 40 + ["bus"] * 30 + [f"rare {n:02d}" for n in range(30)])
    binned = bin_classes(first, second)
    assert binned.names[:3] == ("cat", "bus", "dog")
    assert 3 < len(binned.names) <= 3 + REST_BINS
    assert binned.names[3] == "rare 00 … rare 05 (6 classes)"
    before, after = binned.shares
    assert (before[1], after[1], before[2], after[2]) == (0, 0.3, 0.3, 0)
    assert before[3:] == pytest.approx(after[3:])
    backwards = bin_classes(first, second, tuple(f"rare {n:02d}" for n in reversed(range(30))))
    assert backwards.names[3] == "rare 29 … rare 24 (6 classes)"


@pytest.mark.parametrize(
    ("low", "index", "verdict"), [(0.2, 0.3, "drift"), (0.05, 0.3, "perhaps"), (0.0, 0.05, "same")]
)
def test_drift_is_what_is_above_the_threshold_for_sure(low: float, index: float, verdict: str) -> None:
    binned = Binned(np.zeros(1, np.int64), np.zeros(1, np.int64), ("a",))
    assert Feature("size", "size", binned, Stability(index, low, 1), 0.1).verdict == verdict
