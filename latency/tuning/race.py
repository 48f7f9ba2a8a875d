"""The race: rounds in turns, in which whoever is surely slower than the leader drops out.

Every round gives each configuration that is left the same short time, in an order that is drawn anew. So what
else the machine does falls on all alike, and a configuration is compared with the leader by the ratios
within the rounds. As there are fewer of them, each gets more time.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pinnace.latency.comparison.bootstrap import paired_interval
from pinnace.latency.statistics import percentile
from pinnace.latency.tuning.trial import Measurer, Objective, Trial
from pinnace.models.errors import CheckFailed, PinnaceError
from pinnace.models.profile import Configuration

# A round takes about so long whatever is left, within the limits for one configuration.
_ROUND_S = 8.0
_SHORTEST_S, _LONGEST_S = 0.3, 2.0
# So few rounds say nothing of how much they differ, except where the ratio is beyond all doubt.
FEWEST_ROUNDS = 3
_HOPELESS = 0.5
# Of two that are so close, three rounds call the better one worse in one case of eight.
_CLOSE, _ROUNDS_OF_CLOSE = 0.95, 6
# Two that differ by less are taken as equal, and the race between them is over.
EQUAL = 0.02
_FEWEST_CALLS = 100
NOT_RUN = "the budget was spent before its turn came"

Clock = Callable[[], float]


@dataclass(frozen=True)
class Rules:
    """How to race.

    Attributes:
        objective: what is to be best.
        budget_s: seconds for all.
        max_p99_ms: the bound of the 99th percentile of a call, or None.
        seed: of the order within the rounds.
    """

    objective: Objective = "throughput"
    budget_s: float = 300.0
    max_p99_ms: float | None = None
    seed: int = 1


@dataclass
class Runner:
    """A configuration in the race.

    Attributes:
        configuration: which.
        trials: one for each round that it ran in.
        reason: why it dropped out; None where it is still in.
        ratio: of its score to the leader's, when it dropped out or at the end.
        interval: of that ratio, with 95 % confidence, where there are enough rounds.
        within_bound: whether its calls keep the bound of p99.
    """

    configuration: Configuration
    trials: list[Trial] = field(default_factory=list)
    reason: str | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    within_bound: bool = True

    @property
    def images_per_second(self) -> float:
        """Over all rounds; 0 where it never ran."""
        seconds = sum(trial.seconds for trial in self.trials)
        return sum(trial.images for trial in self.trials) / seconds if seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """A percentile of all calls; infinite where it never ran."""
        calls = sorted(ms for trial in self.trials for ms in trial.calls_ms)
        return percentile(calls, percent) if calls else math.inf

    def score(self, objective: Objective) -> float:
        """The geometric mean over the rounds; 0 where it never ran."""
        if not self.trials:
            return 0.0
        return math.exp(math.fsum(math.log(t.score(objective)) for t in self.trials) / len(self.trials))


@dataclass(frozen=True)
class RaceResult:
    """How a race went.

    Attributes:
        runners: everyone, the best first.
        rounds: how many there were.
        seconds: how long it took.
        rules: of the race.
        interrupted: whether somebody ended it early.
    """

    runners: tuple[Runner, ...]
    rounds: int
    seconds: float
    rules: Rules
    interrupted: bool = False

    @property
    def finalists(self) -> list[Runner]:
        """Those who were not beaten for certain, the best first."""
        return [runner for runner in self.runners if runner.reason is None]


# Told before each trial: who runs, who leads so far, and how many are left.
Watch = Callable[[Configuration, Configuration | None, int, float], None]


def race(
    configurations: Sequence[Configuration],
    measurer: Measurer,
    rules: Rules,
    watch: Watch = lambda *_: None,
    clock: Clock = time.perf_counter,
) -> RaceResult:
    """Race until one is left, those that are left are equal, or the budget is spent.

    `KeyboardInterrupt` ends it like a spent budget, once the first round is complete.

    Raises:
        CheckFailed: nobody is left within the bound, or nobody could run.
        KeyboardInterrupt: it came within the first round.
    """
    runners = [Runner(each) for each in configurations]
    draw = random.Random(rules.seed)
    began, turn, interrupted = clock(), 0, False
    # How much longer a round takes than its configurations work.
    slowness = 0.0
    try:
        while (left := _in(runners)) and (turn == 0 or len(left) > 1):
            work, start = len(left) * _slice(len(left)), clock()
            if turn and start - began + slowness * work >= rules.budget_s:
                break
            _one_round(left, measurer, rules, watch, clock, turn, began, draw)
            # The first round also opens everything.
            slowness = (clock() - start) / work if turn else 1.0
            turn += 1
            _judge(runners, rules, measurer)
            _halve(runners, rules, measurer, clock() - began, turn)
    except KeyboardInterrupt:
        if turn == 0:
            raise
        interrupted = True
    if not _in(runners):
        reasons = sorted({str(runner.reason): None for runner in runners}, key=NOT_RUN.__eq__)
        raise CheckFailed(
            "no configuration is left in the race: " + "; ".join(reasons[:3]),
            hint="allow a higher --max-p99 or a larger --max-drop",
        )
    order = sorted(runners, key=lambda r: (r.reason is None, r.score(rules.objective)), reverse=True)
    _rate(order[0], order, rules.objective)
    return RaceResult(tuple(order), turn, clock() - began, rules, interrupted)


def _in(runners: Sequence[Runner]) -> list[Runner]:
    return [runner for runner in runners if runner.reason is None]


def _slice(left: int) -> float:
    """Seconds for each configuration in a round of so many."""
    return min(_LONGEST_S, max(_SHORTEST_S, _ROUND_S / left))


def _one_round(
    left: list[Runner],
    measurer: Measurer,
    rules: Rules,
    watch: Watch,
    clock: Clock,
    turn: int,
    began: float,
    draw: random.Random,
) -> None:
    slice_s = _slice(len(left))
    leader = max(left, key=lambda r: r.score(rules.objective)).configuration if turn else None
    finished: dict[int, Trial] = {}
    order = list(left)
    draw.shuffle(order)
    for runner in order:
        # Where a machine is slow or the space is large, the first round alone would take more than all.
        if turn == 0 and finished and clock() - began >= rules.budget_s:
            _drop(runner, NOT_RUN, measurer)
            continue
        watch(runner.configuration, leader, len(left), clock() - began)
        try:
            finished[id(runner)] = measurer.measure(runner.configuration, turn, slice_s)
        except PinnaceError as error:
            _drop(runner, f"it cannot run: {error.message}", measurer)
    # Only whole rounds count: an interruption leaves no one with a trial more than the others.
    for runner in left:
        if id(runner) in finished:
            runner.trials.append(finished[id(runner)])


def _judge(runners: Sequence[Runner], rules: Rules, measurer: Measurer) -> None:
    """Drop those that are out of the bound, and those that are surely slower than the leader."""
    for runner in _in(runners):
        if rules.max_p99_ms is None:
            break
        calls = sum(len(trial.calls_ms) for trial in runner.trials)
        middle, slow = runner.percentile_ms(50), runner.percentile_ms(99)
        if middle > rules.max_p99_ms or (calls >= _FEWEST_CALLS and slow > rules.max_p99_ms):
            which, value = ("median", middle) if middle > rules.max_p99_ms else ("99th percentile", slow)
            bound = f"the bound of {rules.max_p99_ms:g} ms"
            runner.within_bound = False
            _drop(runner, f"the {which} of its calls is {value:.1f} ms, above {bound}", measurer)
    left = _in(runners)
    if len(left) < 2:
        return
    leader = max(left, key=lambda r: r.score(rules.objective))
    _rate(leader, left, rules.objective)
    for runner in left:
        if runner is leader or runner.ratio is None:
            continue
        if runner.interval is None:
            if runner.ratio < _HOPELESS:
                _drop(runner, f"it is {runner.ratio:.2f} times as good as the leader", measurer)
        elif runner.interval[1] < 1 and (runner.ratio < _CLOSE or len(runner.trials) >= _ROUNDS_OF_CLOSE):
            low, high = runner.interval
            words = f"it is {runner.ratio:.2f} times as good as the leader ({low:.2f} to {high:.2f})"
            _drop(runner, words, measurer)
        elif runner.interval[0] > 1 - EQUAL and runner.interval[1] < 1 + EQUAL:
            _drop(runner, f"it is as good as the leader within {EQUAL:.0%}, which came first", measurer)


def _rate(leader: Runner, runners: Sequence[Runner], objective: Objective) -> None:
    """The ratio of each to the leader, over the rounds in which both ran."""
    best = {trial.round: trial.score(objective) for trial in leader.trials}
    for runner in runners:
        if runner.reason is not None:
            continue
        ratios = [t.score(objective) / best[t.round] for t in runner.trials if t.round in best]
        if not ratios:
            continue
        runner.ratio = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
        runner.interval = paired_interval(ratios) if len(ratios) >= FEWEST_ROUNDS else None


def _halve(runners: Sequence[Runner], rules: Rules, measurer: Measurer, spent: float, rounds: int) -> None:
    """Drop the worse half where the budget has no room for enough rounds of all that are left."""
    left = _in(runners)
    needed = max(1, FEWEST_ROUNDS - rounds) * spent / max(1, rounds)
    if len(left) > 2 and spent + needed > rules.budget_s:
        ordered = sorted(left, key=lambda r: r.score(rules.objective), reverse=True)
        for runner in ordered[max(2, len(ordered) // 2) :]:
            _drop(runner, "it was in the worse half when the budget ran short", measurer)


def _drop(runner: Runner, reason: str, measurer: Measurer) -> None:
    runner.reason = reason
    measurer.release(runner.configuration)
