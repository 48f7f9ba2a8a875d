"""Compare the race of `pinnace tune` with brute force over the same space.

    python benchmarks/tune_vs_bruteforce.py efficientnet_lite0.bundle --budget 60 --seconds 6

Brute force gives every configuration so many seconds in three rounds of turns; then the race has its budget.
Both measure with the same processes and images, and accuracy is left out of it. What the race chose is rated
by what brute force measured of it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

from pinnace.latency.tuning.processes import ProcessMeasurer
from pinnace.latency.tuning.race import Rules, race
from pinnace.latency.tuning.space import configurations, pairs_of
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import PinnaceError
from pinnace.models.photographs import photographs
from pinnace.models.profile import Configuration
from pinnace.models.runtimes import all_runtimes

ROUNDS = 3


def main() -> None:
    """Measure both, and print what they found and how long they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--budget", type=float, default=60, help="seconds of the race")
    parser.add_argument("--seconds", type=float, default=6, help="seconds of brute force for a configuration")
    chosen = parser.parse_args()
    bundle = Bundle.open(chosen.bundle)
    candidates = configurations(bundle, pairs_of(bundle).pairs, all_runtimes())
    folder = bundle.folder.absolute()
    began = time.perf_counter()
    images: dict[Configuration, int] = defaultdict(int)
    seconds: dict[Configuration, float] = defaultdict(float)
    with ProcessMeasurer(folder, photographs()) as measurer:
        for turn in range(ROUNDS):
            for each in candidates:
                try:
                    trial = measurer.measure(each, turn, chosen.seconds / ROUNDS)
                except PinnaceError:
                    continue
                images[each] += trial.images
                seconds[each] += trial.seconds
    rates = {each: images[each] / seconds[each] for each in seconds}
    brute_s = time.perf_counter() - began
    best = max(rates, key=lambda each: rates[each])
    print(f"{len(candidates)} configurations; brute force: {brute_s:.0f} s, best {best}: {rates[best]:.1f}/s")
    with ProcessMeasurer(folder, photographs()) as measurer:
        result = race(candidates, measurer, Rules(budget_s=chosen.budget))
    winner = result.runners[0].configuration
    print(
        f"race: {result.seconds:.0f} s ({result.seconds / brute_s:.2f} of it), {result.rounds} rounds, "
        f"{winner}: {rates[winner]:.1f}/s, {rates[winner] / rates[best]:.3f} of the best"
    )


if __name__ == "__main__":
    main()
