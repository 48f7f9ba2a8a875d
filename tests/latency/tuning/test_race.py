"""The race, with invented runtimes of known speed and a clock that they alone move."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from pinnace.latency.tuning.race import FEWEST_ROUNDS, RaceResult, Rules, race
from pinnace.latency.tuning.trial import Trial
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.models.profile import Configuration

BRUTE_FORCE_S = 10.0


@dataclass
class Invented:
    """Configurations of known images a second, with noise of each call and of each moment."""

    speeds: dict[Configuration, float]
    seed: int = 0
    noise: float = 0.08
    now: float = 0.0
    measured: list[tuple[Configuration, int, float]] = field(default_factory=list)
    released: list[Configuration] = field(default_factory=list)
    interrupt_after: int | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def measure(self, configuration: Configuration, turn: int, seconds: float) -> Trial:
        """Calls of random length, slower as a whole in a random moment."""
        if self.interrupt_after is not None and len(self.measured) >= self.interrupt_after:
            raise KeyboardInterrupt
        speed = self.speeds[configuration]
        if speed == 0:
            raise UsageError("it has no kernel")
        load = math.exp(self.random.gauss(0, self.noise / 2))
        calls, spent = [], 0.0
        while spent < seconds:
            taken = load / speed * math.exp(self.random.gauss(0, self.noise))
            calls.append(1000 * taken)
            spent += taken
        self.now += spent
        self.measured.append((configuration, turn, spent))
        return Trial(turn, spent, len(calls), tuple(calls))

    def release(self, configuration: Configuration) -> None:
        """Remember it."""
        self.released.append(configuration)


def speeds_of(seed: int, count: int = 40) -> dict[Configuration, float]:
    """So many configurations between 20 and 200 images a second."""
    chosen = random.Random(seed)
    return {
        Configuration("onnx-fp32", "toy", threads=number + 1): 20 * 10 ** chosen.random()
        for number in range(count)
    }


def run(measurer: Invented, rules: Rules | None = None) -> RaceResult:
    """A race of all of them."""
    return race(list(measurer.speeds), measurer, rules or Rules(), clock=measurer.clock)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_within_3_per_cent_in_a_quarter_of_the_time_of_brute_force(seed: int) -> None:
    measurer = Invented(speeds_of(seed), seed)
    result = run(measurer)
    found = measurer.speeds[result.runners[0].configuration]
    assert found >= 0.97 * max(measurer.speeds.values())
    assert result.seconds <= BRUTE_FORCE_S * len(measurer.speeds) / 4
    assert result.seconds == pytest.approx(measurer.now)


def test_whoever_dropped_out_is_released_and_has_a_reason_and_is_not_measured_again() -> None:
    measurer = Invented(speeds_of(3))
    result = run(measurer)
    out = [runner for runner in result.runners if runner.reason is not None]
    assert len(out) > 30
    assert {runner.configuration for runner in out} == set(measurer.released)
    assert len(measurer.released) == len(out)
    best = measurer.speeds[result.runners[0].configuration]
    for runner in out:
        assert runner.trials
        turns = [
            turn for configuration, turn, _ in measurer.measured if configuration == runner.configuration
        ]
        assert turns == [trial.round for trial in runner.trials] == list(range(len(turns)))
        assert measurer.speeds[runner.configuration] <= best * 1.03


def test_every_round_has_everyone_who_is_left_in_an_order_that_is_drawn_anew() -> None:
    measurer = Invented({c: 100.0 + n / 10 for n, c in enumerate(speeds_of(1, 6))}, noise=0.3)
    run(measurer)
    orders = [[c for c, turn, _ in measurer.measured if turn == number] for number in range(FEWEST_ROUNDS)]
    assert {frozenset(order) for order in orders[:2]} == {frozenset(measurer.speeds)}
    assert orders[0] != orders[1]


def test_the_same_seed_gives_the_same_race() -> None:
    first, second = (run(Invented(speeds_of(5), 5)) for _ in range(2))
    assert first == second
    other = run(Invented(speeds_of(5), 5), Rules(seed=2))
    assert [t for r in other.runners for t in r.trials] != [t for r in first.runners for t in r.trials]


def test_equals_end_the_race_and_the_budget_ends_it_too() -> None:
    twins = dict.fromkeys(speeds_of(1, 2), 100.0)
    result = run(Invented(twins, noise=0.005))
    assert result.seconds < 60
    assert "as good as the leader within 2%" in str(result.runners[1].reason)
    noisy = Invented(dict.fromkeys(speeds_of(1, 10), 100.0), noise=0.5)
    result = run(noisy, Rules(budget_s=21))
    # No round is begun that would end behind it; a call that is under way is not cut off.
    assert result.seconds < 21.5
    assert any("budget ran short" in str(r.reason) for r in result.runners) or len(result.finalists) > 1


def test_a_first_round_that_is_too_long_ends_with_the_budget() -> None:
    measurer = Invented(speeds_of(4))
    result = run(measurer, Rules(budget_s=5))
    assert result.seconds < 6
    missed = [runner for runner in result.runners if not runner.trials]
    assert {runner.reason for runner in missed} == {"the budget was spent before its turn came"}
    ran = [runner for runner in result.runners if runner.trials]
    assert len(ran) + len(missed) == len(measurer.speeds)
    assert min(len(ran), len(missed)) > 10
    best = max(measurer.speeds[runner.configuration] for runner in ran)
    assert measurer.speeds[result.runners[0].configuration] >= 0.9 * best


def test_the_bound_of_p99_puts_out_whoever_is_above_it() -> None:
    first, second = speeds_of(1, 2)
    measurer = Invented({first: 30.0, second: 40.0}, noise=0.01)
    result = run(measurer, Rules(max_p99_ms=30.0))
    assert result.runners[0].configuration == second
    assert "above the bound of 30 ms" in str(result.runners[1].reason)


def test_nobody_left_is_one_sentence() -> None:
    measurer = Invented(dict.fromkeys(speeds_of(1, 3), 10.0), noise=0.01)
    with pytest.raises(CheckFailed) as caught:
        run(measurer, Rules(max_p99_ms=1.0))
    assert caught.value.message.startswith("no configuration is left in the race: the median of its calls is")
    assert caught.value.exit_status == 1


def test_what_cannot_run_is_out_with_its_reason() -> None:
    broken, fine = speeds_of(1, 2)
    result = run(Invented({broken: 0.0, fine: 50.0}))
    assert result.runners[0].configuration == fine
    assert result.runners[1].reason == "it cannot run: it has no kernel"


def test_an_interruption_keeps_the_whole_rounds() -> None:
    speeds = speeds_of(2, 6)
    with pytest.raises(KeyboardInterrupt):
        run(Invented(speeds, interrupt_after=3))
    measurer = Invented(dict.fromkeys(speeds, 100.0), noise=0.3, interrupt_after=10)
    result = run(measurer)
    assert result.interrupted
    assert result.rounds == 1
    assert {len(runner.trials) for runner in result.runners} == {1}
