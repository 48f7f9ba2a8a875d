"""Compare the race of `pinnace tune` with brute force over the same space.

    python benchmarks/tune_vs_bruteforce.py efficientnet_lite0.bundle --state lite0.json

Brute force gives every configuration so many seconds in three rounds of turns; then the race has 0.3 of the
time that this took. Both measure with the same processes and images, and accuracy is left out of it. What the
race chose is rated by what brute force measured of it.

What is measured is kept in the file of --state after each trial. Where --piece seconds are over, the script
ends with status 1, and the same command goes on. The race is one piece.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from pinnace.latency.tuning.processes import ProcessMeasurer
from pinnace.latency.tuning.race import Rules, race
from pinnace.latency.tuning.space import configurations, pairs_of
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import PinnaceError
from pinnace.models.files import write_atomic
from pinnace.models.photographs import photographs
from pinnace.models.profile import Configuration
from pinnace.models.runtimes import all_runtimes

ROUNDS = 3
SHARE = 0.3


class BruteForce:
    """Every configuration in rounds of turns, as far as it has come."""

    def __init__(self, file: Path, candidates: list[Configuration], seconds: float) -> None:
        """Go on where the file ends."""
        self._file, self._candidates, self._seconds = file, candidates, seconds
        self._done: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []

    @property
    def complete(self) -> bool:
        """Whether every configuration has had its turns."""
        return len(self._done) == ROUNDS * len(self._candidates)

    @property
    def spent_s(self) -> float:
        """Seconds in all; to open a configuration again after a break does not count."""
        return sum(one["spent"] for one in self._done)

    def go_on(self, measurer: ProcessMeasurer, until: float) -> None:
        """Measure until all have had their turns, or the time is over."""
        for number in range(len(self._done), ROUNDS * len(self._candidates)):
            if time.perf_counter() > until:
                return
            each, turn = self._candidates[number % len(self._candidates)], number // len(self._candidates)
            began = time.perf_counter()
            images, seconds = 0, 0.0
            try:
                trial = measurer.measure(each, turn, self._seconds / ROUNDS)
                images, seconds = trial.images, trial.seconds
            except PinnaceError as error:
                print(f"{each}: {error.message}", file=sys.stderr)
            spent = seconds if turn and seconds else time.perf_counter() - began
            self._done.append({"name": str(each), "images": images, "seconds": seconds, "spent": spent})
            write_atomic(self._file, json.dumps(self._done, indent=0).encode())

    def rates(self) -> dict[str, float]:
        """Images a second of each that ran, by its name."""
        images: dict[str, int] = defaultdict(int)
        seconds: dict[str, float] = defaultdict(float)
        for one in self._done:
            images[one["name"]] += one["images"]
            seconds[one["name"]] += one["seconds"]
        return {name: images[name] / seconds[name] for name in seconds if seconds[name]}


def main() -> None:
    """Measure both, and print what they found and how long they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--state", type=Path, required=True, help="what is measured so far; made")
    parser.add_argument("--seconds", type=float, default=6, help="seconds of brute force for a configuration")
    parser.add_argument("--piece", type=float, default=270, help="seconds after which to end and go on later")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="only these batches")
    parser.add_argument("--runtime", nargs="+", default=[], help="only these runtimes")
    parser.add_argument("--variant", nargs="+", default=[], help="only these variants")
    chosen = parser.parse_args()
    until = time.perf_counter() + chosen.piece
    bundle = Bundle.open(chosen.bundle)
    pairs = pairs_of(bundle, chosen.variant, chosen.runtime).pairs
    candidates = [c for c in configurations(bundle, pairs, all_runtimes()) if c.batch in chosen.batch]
    folder = bundle.folder.absolute()
    brute = BruteForce(chosen.state, candidates, chosen.seconds)
    if not brute.complete:
        with ProcessMeasurer(folder, photographs()) as measurer:
            brute.go_on(measurer, until)
    budget = SHARE * brute.spent_s
    if not brute.complete or time.perf_counter() + budget > until:
        sys.exit(f"{brute.spent_s:.0f} s of brute force are done; the same command goes on")
    rates = brute.rates()
    best = max(rates, key=lambda name: rates[name])
    print(
        f"{len(candidates)} configurations; brute force: {brute.spent_s:.0f} s, {best}: {rates[best]:.1f}/s"
    )
    with ProcessMeasurer(folder, photographs()) as measurer:
        result = race(candidates, measurer, Rules(budget_s=budget))
    winner = str(result.runners[0].configuration)
    print(
        f"race: {result.seconds:.0f} s ({result.seconds / brute.spent_s:.2f} of it), {result.rounds} rounds, "
        f"{winner}: {rates[winner]:.1f}/s, {rates[winner] / rates[best]:.3f} of the best"
    )


if __name__ == "__main__":
    main()
