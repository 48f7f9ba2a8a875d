"""Compare the runtimes of this machine on a bundle's ONNX variants, one call at a time, interleaved.

    python benchmarks/runtimes.py efficientnet_lite0.bundle --threads 1 2

Every round times each pair of variant and runtime in turn, so that whatever else the machine does falls on
all of them; the ratio is taken within a round, and its median and spread over the rounds are shown. `CPU ms`
is what the process computed for a call: with one thread, the latency on a machine that does nothing else.
Needs no torch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from typing import NamedTuple

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.runtimes import runtimes_for
from pinnace.models.runtimes.base import Feeds, Runtime, RuntimeOptions
from pinnace.models.selection import open_variant

BASELINE = ("onnx-fp32", "onnxruntime")
WARM_UPS = 10

Pair = tuple[str, str]


class Milliseconds(NamedTuple):
    """Of one call, or the medians over the calls of a round."""

    wall: float
    cpu: float


def main() -> None:
    """Measure and print one table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=8, help="calls of a pair in one round")
    chosen = parser.parse_args()
    bundle = Bundle.open(chosen.bundle)
    for threads in chosen.threads:
        print(f"{bundle.name}, batch 1, {threads} thread(s), {chosen.rounds} rounds of {chosen.calls} calls")
        show(measure(bundle, threads, chosen.rounds, chosen.calls))


def show(times: dict[Pair, list[Milliseconds]]) -> None:
    """Print a row for each pair; ratios say how many times faster than the baseline it is."""
    head = ("variant", "runtime", "ms", "fastest", "ratio", "p10..p90", "CPU ms", "ratio")
    print("{:14}{:16}{:>8}{:>9}{:>7}{:>13}{:>8}{:>7}".format(*head))
    for (variant, runtime), own in times.items():
        both = list(zip(times[BASELINE], own, strict=True))
        ratios = [base.wall / here.wall for base, here in both]
        tenths = statistics.quantiles(ratios, n=10)
        wall = [here.wall for here in own]
        print(
            f"{variant:14}{runtime:16}{statistics.median(wall):8.2f}{min(wall):9.2f}"
            f"{statistics.median(ratios):7.2f}{f'{tenths[0]:.2f}..{tenths[-1]:.2f}':>13}"
            f"{statistics.median(here.cpu for here in own):8.2f}"
            f"{statistics.median(base.cpu / here.cpu for base, here in both):7.2f}"
        )


def measure(bundle: Bundle, threads: int, rounds: int, calls: int) -> dict[Pair, list[Milliseconds]]:
    """The rounds of every pair that works here."""
    feeds: Feeds = {name: array[:1] for name, array in bundle.golden()[0].items()}
    options = RuntimeOptions(threads=threads)
    with ExitStack() as stack:
        opened: dict[Pair, Runtime] = {}
        for variant in bundle.manifest.variants:
            for reader in runtimes_for(variant.format):
                if variant.format == "onnx" and reader.unavailable_reason() is None:
                    runtime = stack.enter_context(open_variant(bundle, variant, reader.name, options))
                    opened[variant.name, reader.name] = runtime
        for runtime in opened.values():
            for _ in range(WARM_UPS):
                runtime.run(feeds)
        times: dict[Pair, list[Milliseconds]] = {pair: [] for pair in opened}
        for _ in range(rounds):
            for pair, runtime in opened.items():
                taken = [call(runtime, feeds) for _ in range(calls)]
                wall, cpu = (statistics.median(values) for values in zip(*taken, strict=True))
                times[pair].append(Milliseconds(wall, cpu))
    return times


def call(runtime: Runtime, feeds: Feeds) -> Milliseconds:
    """Run once."""
    wall, cpu = time.perf_counter(), time.process_time()
    runtime.run(feeds)
    return Milliseconds(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu))


if __name__ == "__main__":
    main()
