"""Compare what `pinnace bench` says of a bundle with what others say of the same file, in turns.

    python benchmarks/bench_beside.py efficientnet_lite0.bundle
    python benchmarks/bench_beside.py efficientnet_lite0.bundle --runtime openvino

ONNX Runtime is compared with a plain loop around its session, OpenVINO with its own `benchmark_app`. Both run
`onnx-fp32` on the CPU in batch 1, with as many threads, one call after the other. Every round times one and
then the other, and which comes first alternates; the ratio of the medians is taken within a round. Needs no
torch.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pinnace.latency.openers import bundle_openers
from pinnace.latency.run import bench
from pinnace.latency.settings import BenchSettings
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.progress import ignore
from pinnace.models.runtimes.base import RuntimeOptions

VARIANT = "onnx-fp32"
WARM_UPS = 5
PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}


def main() -> None:
    """Measure and print a line for each round, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--runtime", choices=["onnxruntime", *PRECISIONS], default="onnxruntime")
    parser.add_argument("--threads", type=int, default=RuntimeOptions().threads)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    other = "benchmark_app" if arguments.runtime in PRECISIONS else "loop"
    ratios = []
    print(f"bench p50 ms  {other} p50 ms  ratio")
    for turn in range(arguments.rounds):
        p50 = {}
        for name in ("bench", other) if turn % 2 else (other, "bench"):
            measured = {"bench": by_bench, "loop": by_loop, "benchmark_app": by_benchmark_app}[name]
            p50[name] = measured(bundle, arguments.runtime, arguments.threads, arguments.seconds)
        ratios.append(p50["bench"] / p50[other])
        print(f"{p50['bench']:12.3f} {p50[other]:{len(other) + 8}.3f} {ratios[-1]:6.3f}", flush=True)
    low, high = min(ratios), max(ratios)
    print(f"median of {len(ratios)} ratios {statistics.median(ratios):.3f}, {low:.3f} to {high:.3f}")


def by_bench(bundle: Bundle, runtime: str, threads: int, seconds: float) -> float:
    """The median of `pinnace bench`, in milliseconds."""
    settings = BenchSettings(str(bundle.folder), ("single-stream",), seconds, 1, 1, threads=threads, batch=1)
    openers = bundle_openers(bundle, VARIANT, runtime, RuntimeOptions(threads, "cpu"), settings)
    return bench(openers, settings, ignore).results[0].p50_ms


def by_loop(bundle: Bundle, runtime: str, threads: int, seconds: float) -> float:
    """The median of a loop that times the calls of a session of ONNX Runtime, in milliseconds."""
    import onnxruntime

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


def by_benchmark_app(bundle: Bundle, runtime: str, threads: int, seconds: float) -> float:
    """The median of OpenVINO's benchmark_app in one stream, in milliseconds."""
    spec = bundle.manifest.signature.inputs[0]
    app = Path(sys.executable).parent / "benchmark_app"
    command = [str(app), "-m", str(bundle.path(bundle.variant(VARIANT).file)), "-d", "CPU", "-api", "sync"]
    command += ["-hint", "none", "-nstreams", "1", "-nthreads", str(threads), "-pin", "NO"]
    command += ["-infer_precision", PRECISIONS[runtime], "-t", str(round(seconds))]
    command += ["-data_shape", "[" + ",".join(map(str, spec.with_batch(1))) + "]"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Median:\s+([\d.]+) ms", output)
    assert found is not None, output
    return float(found[1])


if __name__ == "__main__":
    main()
