"""Parity: the numbers by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pinnace.export.validation import parity, photographs
from pinnace.export.validation.parity import compare, excess, measure
from pinnace.models.bundle.measurements import Parity, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec

EAGER = np.float32([[0, 10, 5], [4, 2, 0]])
MEANING = {True: Outputs("logits", "y", "softmax", 3), False: Outputs("tensors")}


def of(
    want: np.ndarray, got: np.ndarray, everything: np.ndarray | None = None, *, classes: bool = True
) -> Parity:
    whole = want if everything is None else everything
    return compare({"y": want}, {"y": got}, {"y": whole}, meaning=MEANING[classes], runtime="abacus")


class Model:
    """A runtime that computes in Python, and remembers how many images it was asked for at once."""

    name = "abacus"
    signature = Signature(
        (TensorSpec("x", "float64", ("batch", 4)),), (TensorSpec("y", "float64", ("batch", 4)),)
    )

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.function = function
        self.batches: list[int] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.batches.append(len(feeds["x"]))
        return {"y": self.function(feeds["x"])}


def run(
    function: Callable[[np.ndarray], np.ndarray], samples: int = 10, *, classes: bool = True
) -> tuple[Parity, Model]:
    """Measure a function against the one that doubles its input."""
    inputs = np.random.default_rng(0).normal(size=(samples, 4))
    model = Model(function)
    return measure(model, {"x": inputs}, {"y": 2 * inputs}, meaning=MEANING[classes]), model  # type: ignore[arg-type]


def test_equal_outputs() -> None:
    assert of(EAGER, EAGER.copy()) == Parity(0, 0, 1, 1, 2, "abacus")


def test_each_sample_is_measured_against_its_own_range() -> None:
    got = EAGER + np.float32([[0, 0, 1], [0, 0, 0.8]])
    result = of(EAGER, got)
    assert result.max_abs == 1
    assert result.max_rel == pytest.approx(0.8 / 4)  # and not 1 / 10
    by_hand = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(EAGER, got, strict=True)]
    assert result.cosine == pytest.approx(min(by_hand))
    assert result.top1_agreement == 1


def test_agreement_is_the_share_of_samples_with_the_same_best_class() -> None:
    got = EAGER.copy()
    got[1, 1] = 4.5
    assert of(EAGER, got).top1_agreement == 0.5
    assert of(EAGER, got, classes=False).top1_agreement is None


def test_a_sample_that_hardly_varies_is_measured_against_the_range_of_all() -> None:
    flat = np.float32([[1, 1, 1]])
    result = of(flat, flat + np.float32(0.001), np.concatenate([EAGER, flat]))
    assert result.max_rel == pytest.approx(0.001 / (1e-3 * 10), rel=1e-3)


def test_a_single_output_is_measured_against_the_range_over_all_samples() -> None:
    ages = np.float32([[20], [70]])
    result = of(ages, ages + np.float32([[0], [5]]), classes=False)
    assert result.max_rel == pytest.approx(5 / 50)
    assert result.cosine == pytest.approx(1)


def test_outputs_that_are_all_zero_do_not_divide_by_zero() -> None:
    zero = np.zeros((2, 3), np.float32)
    with np.errstate(all="raise"):
        assert of(zero, zero) == Parity(0, 0, 1, 1, 2, "abacus")
        assert of(zero, zero + np.float32(0.25)).max_rel == 0.25
        assert of(zero, zero + np.float32(0.25)).cosine == 0


def test_the_last_bits_of_answers_that_hardly_vary_are_no_error() -> None:
    flat = np.full((3, 5), 0.2, np.float32)
    assert 0 < of(flat, np.nextafter(flat, np.float32(1))).max_rel < 1e-3
    assert of(flat, flat * np.float32(1.0001)).max_rel > 1e-3


def test_the_opposite_answer_has_cosine_minus_one() -> None:
    assert of(EAGER, -EAGER).cosine == pytest.approx(-1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_as_wrong_as_can_be(value: float) -> None:
    got = EAGER.copy()
    got[0, 0] = value
    assert of(EAGER, got) == Parity(np.inf, np.inf, 0, 0, 2, "abacus")
    assert of(EAGER, got, classes=False).top1_agreement is None


def test_an_answer_of_another_shape_is_as_wrong_as_can_be() -> None:
    assert of(EAGER, EAGER[:, :2]) == Parity(np.inf, np.inf, 0, 0, 2, "abacus")


def test_the_worst_of_several_outputs_counts() -> None:
    want = {"a": EAGER, "b": EAGER}
    result = compare(want, {"a": EAGER + 1, "b": EAGER + 3}, want, meaning=MEANING[False], runtime="abacus")
    assert result.max_abs == 3
    swapped = compare(want, {"a": EAGER + 3, "b": EAGER + 1}, want, meaning=MEANING[False], runtime="abacus")
    assert swapped == result


def test_integers_are_compared_without_overflow() -> None:
    want, got = np.array([[2**62, 0]]), np.array([[0, 2**62]])
    assert of(want, got).max_abs == 2.0**62


def test_every_sample_is_run_alone_in_threes_and_in_sixteens() -> None:
    result, model = run(lambda x: 2 * x)
    assert parity.BATCHES == (1, 3, 16)
    assert model.batches == [1] * 10 + [3] * 4 + [16]
    assert result == Parity(0, 0, pytest.approx(1), 1, 10, "abacus")


@pytest.mark.parametrize("broken", [1, 3, 16])
def test_an_error_in_one_batch_size_alone_is_found(broken: int) -> None:
    result, _ = run(lambda x: 2 * x + (0.5 if len(x) == broken else 0))
    assert result.max_abs == pytest.approx(0.5)


def test_an_error_in_one_sample_alone_is_found() -> None:
    def wrong(x: np.ndarray) -> np.ndarray:
        answer = 2 * x
        answer[x[:, 0] == x[:, 0].max()] += 0.01
        return answer

    assert run(wrong, samples=1)[0].max_abs == pytest.approx(0.01)
    assert run(lambda x: 2 * x, samples=1)[0].samples == 1


def test_answers_in_another_order_are_found() -> None:
    result, _ = run(lambda x: 2 * x[::-1])
    assert result.top1_agreement is not None
    assert result.top1_agreement < 1
    assert result.cosine < 0.9


def test_the_agreement_is_that_of_the_worst_batch() -> None:
    result, _ = run(lambda x: -2 * x if len(x) == 1 else 2 * x)
    assert result.top1_agreement == 0


def test_the_agreement_is_the_share_of_all_samples_and_not_that_of_one_call() -> None:
    wrong = np.random.default_rng(0).normal(size=(10, 4))[3]

    def one_wrong(x: np.ndarray) -> np.ndarray:
        flipped = (x == wrong).all(axis=1)
        return np.where(flipped[:, None], -2 * x, 2 * x)

    assert run(one_wrong)[0].top1_agreement == 0.9


FAIR = Parity(0.5, 0.01, 0.99, 0.9, 10, "abacus")


@pytest.mark.parametrize(
    ("tolerance", "broken"),
    [
        (Tolerance(), None),
        (Tolerance(max_rel=0.01, min_cosine=0.99, min_top1_agreement=0.9), None),
        (
            Tolerance(max_rel=0.001),
            ("at most 0.001 of the outputs' range", "0.01 (largest difference 0.5)"),
        ),
        (Tolerance(min_cosine=0.999), ("cosine similarity of at least 0.999", "0.99")),
        (Tolerance(min_top1_agreement=0.95), ("top-1 agreement of at least 95.0%", "90.0%")),
        (
            Tolerance(max_rel=0.001, min_cosine=0.999),
            ("at most 0.001 of the outputs' range", "0.01 (largest difference 0.5)"),
        ),
    ],
)
def test_what_a_parity_breaks_of_a_tolerance(tolerance: Tolerance, broken: tuple[str, str] | None) -> None:
    assert excess(FAIR, tolerance) == broken


def test_nan_and_infinity_keep_no_tolerance() -> None:
    nan = Parity(np.nan, np.nan, np.nan, np.nan, 10, "abacus")
    assert excess(nan, Tolerance(max_rel=1)) is not None
    assert excess(nan, Tolerance(min_cosine=-1)) is not None
    assert excess(nan, Tolerance(min_top1_agreement=0)) is not None
    infinite = Parity(np.inf, np.inf, 0, 0, 10, "abacus")
    assert excess(infinite, Tolerance(max_rel=1e9)) == (
        "at most 1e+09 of the outputs' range",
        "inf (largest difference inf)",
    )


def test_a_model_without_classes_has_no_agreement_to_keep() -> None:
    assert excess(Parity(0, 0, 1, None, 10, "abacus"), Tolerance(min_top1_agreement=1)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("side", ["eager", "answer", "both"])
def test_no_value_makes_a_comparison_that_cannot_fail(bad: float, side: str) -> None:
    good = np.array([[1.0, 2.0, 3.0]])
    spoilt = np.array([[1.0, bad, -bad]])
    want = {"logits": good if side == "answer" else spoilt}
    got = {"logits": good if side == "eager" else spoilt * (0.9 if np.isfinite(bad) else 1)}
    meaning = Outputs("logits", "logits", "softmax", 3)
    measured = parity.compare(want, got, want, meaning=meaning, runtime="abacus")
    assert parity.excess(measured, Tolerance(max_rel=1e-3)) is not None
    assert parity.excess(measured, Tolerance(min_cosine=1 - 1e-12)) is not None


NOTHING = ", so the comparison with them says nothing: a file that always answers this would pass as well. "


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (np.zeros((3, 4)), "every golden answer is 0"),
        (np.zeros((1, 4)), "every golden answer is 0"),
        (np.tile([[1.0, 2, 3, 4]], (3, 1)), "the golden answers to 3 different inputs are the same"),
        (np.tile([[1.0, 2, 3, 4]], (3, 1)) + np.array([[0], [1e-4], [0]]),
         "the golden answers to 3 different inputs are the same"),
        (np.ones((3, 1)), "the golden answers to 3 different inputs are the same"),
        (np.tile([[1.0, 2, 3, 4]], (3, 1)) + np.array([[0], [0], [0.01]]), None),
        (np.array([[1.0, 2, 3, 4]]), None),
        (np.array([[1.0], [1.1]]), None),
    ],
)  # fmt: skip
def test_golden_answers_that_prove_nothing_are_told(answers: np.ndarray, told: str | None) -> None:
    found = parity.says_nothing({"y": answers}, MEANING[False], Tolerance(max_rel=1e-3))
    assert found == (told and told + NOTHING + "Train the network, or give it the trained weights")


def test_without_a_bound_only_equal_answers_prove_nothing() -> None:
    same = np.tile([[1.0, 2, 3, 4]], (3, 1))
    assert parity.says_nothing({"y": same}, MEANING[False], Tolerance()) is not None
    close = {"y": same + np.array([[0], [1e-6], [0]])}
    assert parity.says_nothing(close, MEANING[False], Tolerance()) is None
    moving = {"y": same, "z": np.eye(3)}
    assert parity.says_nothing(moving, MEANING[False], Tolerance(max_rel=1e-3)) is None


def test_photographs_with_nearly_one_value_are_measured_on_the_scale_of_all_golden_answers() -> None:
    """Three probabilities near 0, of a network with one, whose last bits differ: 6e-8 of 1.6e-5."""
    want = {"y": np.float32([[1.6e-5], [0], [1.5e-7]])}
    got = {"y": want["y"] + np.float32(6e-8)}
    golden = {"y": np.float32([[1.6e-5], [0], [1.5e-7], [1.3e-2]])}
    meaning = Outputs("probabilities", "y", "none", 2)
    alone = photographs.compare(want, got, meaning=meaning, runtime="abacus")
    scaled = photographs.compare(want, got, meaning=meaning, runtime="abacus", scale=golden)
    fp32 = Tolerance(max_rel=0.001)
    assert photographs.excess(alone, fp32) is not None
    assert photographs.excess(scaled, fp32) is None
    assert scaled.max_rel == pytest.approx(6e-8 / 1.3e-2, rel=0.01)
    assert scaled.mean_rel == scaled.max_rel
