"""What a whole tuning gives: the judgements, the race, the confirmations, and the winner."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from pinnace.latency.device.types import DeviceInfo
from pinnace.latency.tuning.confirm import Confirmation
from pinnace.latency.tuning.judgement import Judgement
from pinnace.latency.tuning.race import RaceResult, Runner
from pinnace.latency.tuning.space import Excluded
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed
from pinnace.models.profile import SCHEMA_VERSION, Configuration, Profile, ProfileFigures, this_machine

# Rates of servers that differ by less are taken for equal.
_SAME_RATE = 0.9


@dataclass(frozen=True)
class TuneResult:
    """A whole tuning.

    Attributes:
        bundle: which bundle, by its folder.
        version: the bundle's version.
        model: the model's name.
        created: when it began, in UTC.
        device: the machine.
        max_drop: how many points may be lost.
        judgements: of every pair that was judged.
        excluded: what did not race, and why.
        race: how it went.
        confirmations: of the finalists; empty where there was none.
        notes: what a reader should know.
    """

    bundle: str
    version: str
    model: str
    created: str
    device: DeviceInfo
    max_drop: float
    judgements: tuple[Judgement, ...]
    excluded: tuple[Excluded, ...]
    race: RaceResult
    confirmations: tuple[Confirmation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def winner(self) -> Configuration | None:
        """The best that was confirmed; the leader of the race where none was; None where all failed.

        The highest rate of a server is sought in a few short steps, so rates within 10 % of the highest are
        taken for equal, and of these the one that was better in the race is chosen.
        """
        if not self.confirmations:
            return self.race.runners[0].configuration
        passed = [each for each in self.confirmations if each.problem is None]
        if not passed:
            return None
        if self.race.rules.objective == "throughput":
            best = max(each.images_per_second for each in passed)
            passed = [each for each in passed if each.images_per_second >= _SAME_RATE * best]
        return passed[0].configuration

    def runner(self, configuration: Configuration) -> Runner:
        """How a configuration raced."""
        return next(each for each in self.race.runners if each.configuration == configuration)

    def judgement(self, configuration: Configuration) -> Judgement | None:
        """How exact a configuration is, or None where it was not judged."""
        pair = (configuration.variant, configuration.runtime, configuration.device)
        return next((each for each in self.judgements if each.pair == pair), None)

    def confirmation(self, configuration: Configuration) -> Confirmation | None:
        """What its server reached, or None where it has not served."""
        return next((each for each in self.confirmations if each.configuration == configuration), None)

    def profile(self, bundle: Bundle) -> Profile:
        """The winner as a profile of the bundle.

        Raises:
            CheckFailed: no finalist was confirmed.
        """
        winner = self.winner
        if winner is None:
            raise CheckFailed(
                f"no finalist keeps the bound of {self.race.rules.max_p99_ms:g} ms on a server, so "
                "no profile was written",
                got="; ".join(f"{each.configuration}: {each.problem}" for each in self.confirmations),
                hint="allow a higher --max-p99, or leave the servers out with --no-confirm",
            )
        runner, judged, served = self.runner(winner), self.judgement(winner), self.confirmation(winner)
        return Profile(
            SCHEMA_VERSION,
            bundle.version,
            this_machine(winner.runtime, device=winner.device),
            winner,
            self.race.rules.objective,
            ProfileFigures(
                round(runner.images_per_second, 3),
                round(runner.percentile_ms(99), 3),
                None if judged is None else round(judged.lost, 4),
                None if served is None else round(served.images_per_second, 3),
                None if served is None else round(served.p99_ms, 3),
            ),
            self.created,
            version("pinnace"),
            {
                "budget_s": self.race.rules.budget_s,
                "max_p99_ms": self.race.rules.max_p99_ms,
                "max_drop": self.max_drop,
                "seed": self.race.rules.seed,
                "rounds": self.race.rounds,
            },
        )

    def to_data(self, *, samples: bool) -> dict[str, Any]:
        """As plain data for JSON; `samples` with every call of every trial."""
        winner = self.winner
        return {
            "bundle": self.bundle,
            "version": self.version,
            "model": self.model,
            "created": self.created,
            "device": asdict(self.device),
            "rules": asdict(self.race.rules) | {"max_drop": self.max_drop},
            "rounds": self.race.rounds,
            "seconds": round(self.race.seconds, 3),
            "interrupted": self.race.interrupted,
            "winner": None if winner is None else asdict(winner) | {"command": winner.command(self.bundle)},
            "judgements": [asdict(each) for each in self.judgements],
            "excluded": [asdict(each) for each in self.excluded],
            "configurations": [self._row(runner, samples=samples) for runner in self.race.runners],
            "confirmations": [asdict(each) | {"p99_ms": _finite(each.p99_ms)} for each in self.confirmations],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """With every sample."""
        return json.dumps(self.to_data(samples=True), indent=1) + "\n"

    def _row(self, runner: Runner, *, samples: bool) -> dict[str, Any]:
        row = asdict(runner.configuration) | {
            "images_per_second": round(runner.images_per_second, 3),
            "p50_ms": _finite(runner.percentile_ms(50)),
            "p99_ms": _finite(runner.percentile_ms(99)),
            "rounds": len(runner.trials),
            "reason": runner.reason,
            "ratio": runner.ratio,
            "interval": runner.interval,
            "within_bound": runner.within_bound,
        }
        return row | {"trials": [asdict(trial) for trial in runner.trials]} if samples else row


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def frontier(runners: Sequence[Runner]) -> list[Runner]:
    """Those whom no other beats both in images a second and in p99, the slowest first."""
    found: list[Runner] = []
    for runner in sorted(runners, key=lambda r: (-r.images_per_second, r.percentile_ms(99))):
        if not found or runner.percentile_ms(99) < found[-1].percentile_ms(99):
            found.append(runner)
    return found[::-1]
