"""Compare what `pinnace bench` says of a bundle with a plain loop around ONNX Runtime, in turns.

    python benchmarks/plain_loop.py classic.suite/resnet18-224.bundle

Both run `onnx-fp32` on the CPU in batch 1, with as many threads, one call after the other. Every round
times one and then the other, and which comes first alternates; the ratio of the medians is taken within a
round. Needs no torch.
"""

from __future__ import annotations

import argparse
import statistics
import time

import onnxruntime

from pinnace.clients.bench.bench import bench, bundle_openers
from pinnace.clients.bench.report import Settings
from pinnace.models.bundle import Bundle
from pinnace.models.runtimes.base import RuntimeOptions

VARIANT = "onnx-fp32"
WARM_UPS = 5


def main() -> None:
    """Measure and print a line for each round, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--threads", type=int, default=RuntimeOptions().threads)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    turns = {"bench": by_bench, "loop": by_loop}
    ratios = []
    print("bench p50 ms  loop p50 ms  ratio")
    for turn in range(arguments.rounds):
        order = list(turns) if turn % 2 else list(reversed(turns))
        p50 = {name: turns[name](bundle, arguments.threads, arguments.seconds) for name in order}
        ratios.append(p50["bench"] / p50["loop"])
        print(f"{p50['bench']:12.3f} {p50['loop']:12.3f} {ratios[-1]:6.3f}", flush=True)
    low, high = min(ratios), max(ratios)
    print(f"median of {len(ratios)} ratios {statistics.median(ratios):.3f}, {low:.3f} to {high:.3f}")


def by_bench(bundle: Bundle, threads: int, seconds: float) -> float:
    """The median of `pinnace bench`, in milliseconds."""
    settings = Settings(str(bundle.folder), ("single-stream",), seconds, 1, 1, threads=threads, batch=1)
    openers = bundle_openers(bundle, VARIANT, "onnxruntime", RuntimeOptions(threads, "cpu"), settings)
    return bench(openers, settings, lambda name, seconds: None).results[0].p50_ms


def by_loop(bundle: Bundle, threads: int, seconds: float) -> float:
    """The median of a loop that times the calls of a session, in milliseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as Pinnace has it
    path = bundle.path(bundle.variant(VARIANT).file)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {name: array[:1].copy() for name, array in bundle.golden()[0].items()}
    for _ in range(WARM_UPS):
        session.run(None, feeds)
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not taken:
        started = time.perf_counter()
        session.run(None, feeds)
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
