"""What each setting of each runtime brings: it is given its other value, beside the runtime as it is.

    python benchmarks/runtime_settings.py efficientnet_lite0.bundle
    python benchmarks/runtime_settings.py efficientnet_lite0.bundle --runtime openvino --only stream

Both stand in the same processes and run in turns, a few calls each, so that whatever else the machine does
falls on both. The ratio is how many times as fast the runtime is with its own value as with the other one,
taken within a round: above 1 the setting helps. Its interval is of the median over the rounds, at 95 %, by
bootstrap. `alone` is one process; `served` is one process for each CPU, all at once, as the server has them.
Where a setting cannot be tried on this machine, the row says why. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.cpus import available_cpus, saturates
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions
from pinnace.models.runtimes.openvino import Requests

WARM_UPS = 6
RESAMPLES = 2000

# Makes the class that a runtime is with one setting changed.
Change = Callable[[Any], Any]


def session(change: Callable[[Any, Any], object]) -> Change:
    """A setting of ONNX Runtime's session; `change` gets the module and the options."""

    def make(base: Any) -> Any:
        class Changed(base):  # type: ignore[misc]
            def _session_options(self, options: RuntimeOptions) -> Any:
                import onnxruntime

                settings = super()._session_options(options)
                change(onnxruntime, settings)
                return settings

        return Changed

    return make


def entry(name: str, value: str) -> Change:
    """A setting that ONNX Runtime takes as text."""
    return session(lambda _, settings: settings.add_session_config_entry(name, value))


def attribute(name: str, value: object) -> Change:
    """A setting that is an attribute of ONNX Runtime's options."""
    return session(lambda _, settings: setattr(settings, name, value))


def level(name: str) -> Change:
    """How far ONNX Runtime changes the graph."""
    return session(
        lambda module, settings: setattr(
            settings, "graph_optimization_level", getattr(module.GraphOptimizationLevel, name)
        )
    )


def parallel(module: Any, settings: Any) -> None:
    """Run operators beside one another, on as many threads."""
    settings.execution_mode = module.ExecutionMode.ORT_PARALLEL
    settings.inter_op_num_threads = settings.intra_op_num_threads


def compiled(**values: object) -> Change:
    """Settings of OpenVINO's compiled model; None takes one away."""

    def make(base: Any) -> Any:
        class Changed(base):  # type: ignore[misc]
            def _compile_settings(self, calls: int) -> dict[str, Any]:
                settings = super()._compile_settings(calls) | values
                return {name: value for name, value in settings.items() if value is not None}

        return Changed

    return make


def one_model(base: Any) -> Any:
    """All streams of OpenVINO in one compiled model."""

    class Changed(base):  # type: ignore[misc]
        def _made(self, shapes: Any) -> Any:
            calls = self._options.concurrency
            return Requests(lambda _: self._compiled(shapes, calls), 1)

    return Changed


def any_shape(base: Any) -> Any:
    """OpenVINO compiled for any batch."""

    class Changed(base):  # type: ignore[misc]
        def _made(self, shapes: Any) -> Any:
            return super()._made(None)

    return Changed


def around(name: str) -> Change:
    """Every call of torch within a context of this file."""

    def make(base: Any) -> Any:
        class Changed(base):  # type: ignore[misc]
            def _run(self, feeds: Feeds) -> Outputs:
                with globals()[name]():
                    return super()._run(feeds)  # type: ignore[no-any-return]

        return Changed

    return make


@contextlib.contextmanager
def profiling_executor() -> Iterator[None]:
    """torch compiles for what it sees, as it does where nobody says otherwise."""
    import torch

    given = torch.jit.optimized_execution  # type: ignore[attr-defined]
    torch.jit.optimized_execution = lambda _: given(True)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.jit.optimized_execution = given  # type: ignore[attr-defined]


@contextlib.contextmanager
def gradients() -> Iterator[None]:
    """torch keeps what a backward pass would need."""
    import torch

    given = torch.inference_mode, torch.no_grad
    torch.inference_mode = torch.no_grad = contextlib.nullcontext  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        torch.inference_mode, torch.no_grad = given  # type: ignore[misc]


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """torch's own kernels."""
    import torch

    with torch.backends.mkldnn.flags(enabled=False):
        yield


def optimized(base: Any) -> Any:
    """`torch.jit.optimize_for_inference` on the frozen module."""

    class Changed(base):  # type: ignore[misc]
        def _load(self) -> Any:
            import torch

            return torch.jit.optimize_for_inference(super()._load())  # type: ignore[no-untyped-call]

    return Changed


@dataclass(frozen=True)
class Setting:
    """One setting of a runtime.

    Attributes:
        name: as the runtime calls it.
        ours: what Pinnace gives it, or `default` where it gives nothing.
        other: what it is measured against.
        change: makes the class with the other value.
        runtime: which runtime.
        variant: which variant shows it.
        threads: CPU threads of a call.
        processes: 0 for one for each CPU.
        concurrency: calls at once that the runtime is opened for.
        other_batches: each third call has another batch than the rest.
        unless: why it cannot be tried here, or None.
    """

    name: str
    ours: str
    other: str
    change: Change
    runtime: str
    variant: str = "onnx-fp32"
    threads: int = 1
    processes: int = 1
    concurrency: int = 1
    other_batches: bool = False
    unless: str | None = None


_ORT = partial(Setting, runtime="onnxruntime")
_OPENVINO = partial(Setting, runtime="openvino")
_TORCH = partial(Setting, runtime="torchscript", variant="torchscript-fp32")
_QUANT = "session.x64quantprecision"
_SPIN = "session.intra_op.allow_spinning"
_NO_VNNI = "there is no VNNI here, so the other value answers wrongly" if saturates() else None

SETTINGS = [
    _ORT(_SPIN, "0", "1", entry(_SPIN, "1"), threads=2),
    _ORT(_SPIN, "0", "1", entry(_SPIN, "1"), threads=2, processes=0),
    _ORT("execution_mode", "default (sequential)", "parallel", session(parallel), threads=2),
    _ORT("intra_op_num_threads", "given", "default", attribute("intra_op_num_threads", 0), processes=0),
    _ORT("inter_op_num_threads", "default", "1", attribute("inter_op_num_threads", 1)),
    _ORT(_QUANT, "0 where there is VNNI", "1", entry(_QUANT, "1"), variant="onnx-int8", unless=_NO_VNNI),
    _ORT("graph_optimization_level", "default (all)", "extended", level("ORT_ENABLE_EXTENDED")),
    _ORT("graph_optimization_level", "default (all)", "off", level("ORT_DISABLE_ALL")),
    _ORT("enable_cpu_mem_arena", "default (on)", "off", attribute("enable_cpu_mem_arena", False)),
    _ORT("enable_mem_pattern", "default (on)", "off", attribute("enable_mem_pattern", False)),
    _ORT("enable_mem_reuse", "default (on)", "off", attribute("enable_mem_reuse", False)),
    _ORT("session.disable_prepacking", "default (0)", "1", entry("session.disable_prepacking", "1")),
    _ORT("session.set_denormal_as_zero", "default (0)", "1", entry("session.set_denormal_as_zero", "1")),
    _ORT(
        "free dimensions",
        "any batch",
        "batch 1",
        session(lambda _, settings: settings.add_free_dimension_override_by_name("batch", 1)),
    ),
    _OPENVINO("PERFORMANCE_HINT", "default", "LATENCY", compiled(PERFORMANCE_HINT="LATENCY")),
    _OPENVINO("PERFORMANCE_HINT", "default", "THROUGHPUT", compiled(PERFORMANCE_HINT="THROUGHPUT")),
    _OPENVINO("NUM_STREAMS", "one a call", "default", compiled(NUM_STREAMS=None), threads=2),
    _OPENVINO("INFERENCE_NUM_THREADS", "given", "default", compiled(INFERENCE_NUM_THREADS=None), processes=0),
    _OPENVINO("INFERENCE_PRECISION_HINT", "f32", "default", compiled(INFERENCE_PRECISION_HINT=None)),
    _OPENVINO("ENABLE_CPU_PINNING", "off", "on", compiled(ENABLE_CPU_PINNING=True)),
    _OPENVINO("ENABLE_CPU_PINNING", "off", "on", compiled(ENABLE_CPU_PINNING=True), processes=0),
    _OPENVINO("ENABLE_HYPER_THREADING", "default", "off", compiled(ENABLE_HYPER_THREADING=False), threads=2),
    _OPENVINO(
        "LP_TRANSFORMS_MODE",
        "on where there is VNNI",
        "off",
        compiled(LP_TRANSFORMS_MODE=False),
        variant="onnx-int8",
        unless=_NO_VNNI,
    ),
    _OPENVINO("CPU_DENORMALS_OPTIMIZATION", "default (off)", "on", compiled(CPU_DENORMALS_OPTIMIZATION=True)),
    _OPENVINO("shapes", "of one batch", "any batch", any_shape),
    _OPENVINO("compiled models", "one stream its own", "all in one", one_model, concurrency=2, processes=0),
    Setting(
        *("compiled models", "one stream its own", "all in one", one_model, "openvino-bf16"),
        concurrency=2,
        processes=0,
    ),
    Setting("shapes", "of one batch", "any batch", any_shape, "openvino-bf16"),
    _TORCH("optimized_execution", "off", "on (default)", around("profiling_executor")),
    _TORCH("optimized_execution", "off", "on (default)", around("profiling_executor"), other_batches=True),
    _TORCH("optimize_for_inference", "no", "yes", optimized),
    _TORCH("inference_mode", "on", "off", around("gradients")),
    _TORCH("oneDNN", "default (on)", "off", around("without_onednn")),
    Setting("no_grad", "on", "off", around("gradients"), "pt2", "pt2-fp32"),
]


def serve_rounds(setting: Setting, folder: Path) -> None:
    """Open both in this process, and time the one that each line of standard input names."""
    bundle = Bundle.open(folder)
    variant = bundle.variant(setting.variant)
    options = RuntimeOptions(threads=setting.threads, concurrency=setting.concurrency)
    own: Any = all_runtimes()[setting.runtime]
    path, signature = bundle.path(variant.file), bundle.manifest.signature
    opened: list[Runtime] = [kind(path, signature, options) for kind in (own, setting.change(own))]
    golden = bundle.golden()[0]
    feeds = [{name: np.ascontiguousarray(array[:size]) for name, array in golden.items()} for size in (1, 2)]
    for runtime in opened:
        for number in range(WARM_UPS):
            runtime.run(feeds[number % 3 == 2 and setting.other_batches])
    answers = [runtime.run(feeds[0]) for runtime in opened]
    off = max(
        float(np.abs(first - answers[1][name]).max() / np.ptp(first)) for name, first in answers[0].items()
    )
    print(json.dumps(off), flush=True)
    for line in sys.stdin:
        which, calls = map(int, line.split())
        started = time.perf_counter()
        for number in range(calls):
            opened[which].run(feeds[number % 3 == 2 and setting.other_batches])
        print((time.perf_counter() - started) / calls * 1000, flush=True)


def measure(
    setting: Setting, number: int, bundle: Path, rounds: int, calls: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Milliseconds of a call, shape (rounds, 2), ours first, and how far the answers are apart."""
    command = [sys.executable, __file__, str(bundle), "--worker", str(number)]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(setting.processes or available_cpus())
    ]

    def answers() -> list[float]:
        lines = [process.stdout.readline() for process in processes if process.stdout is not None]
        return [float(json.loads(line)) for line in lines]

    try:
        off = max(answers())
        times = np.zeros((rounds, 2))
        for row in range(rounds):
            for which in (0, 1) if row % 2 else (1, 0):
                for process in processes:
                    assert process.stdin is not None
                    process.stdin.write(f"{which} {calls}\n")
                    process.stdin.flush()
                times[row, which] = np.mean(answers())
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return times, off


def interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the median, by bootstrap (percentiles)."""
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runtime", help="only the settings of this one")
    parser.add_argument("--only", default="", help="only settings with this in their name")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--calls", type=int, default=6, help="calls of each in a round")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        serve_rounds(SETTINGS[arguments.worker], arguments.bundle)
        return
    variants = {variant.name for variant in Bundle.open(arguments.bundle).manifest.variants}
    cpus = available_cpus()
    print(f"{read_cpu(Sysfs()).model}, {cpus} CPUs; {arguments.rounds} rounds of {arguments.calls} calls")
    print("| setting | runtime | variant | threads | ours | other | ours, ms | other, ms | ratio | 95 % |")
    print("|---" * 10 + "|", flush=True)
    for number, setting in enumerate(SETTINGS):
        if arguments.only.lower() not in setting.name.lower():
            continue
        if arguments.runtime not in (None, setting.runtime):
            continue
        where = "alone" if setting.processes else "served"
        batches = ", batches of 1 and 2" if setting.other_batches else ""
        head = f"| `{setting.name}` | {setting.runtime} | {setting.variant} "
        head += f"| {setting.threads}, {where}{batches} | {setting.ours} | {setting.other} "
        problem = setting.unless or all_runtimes()[setting.runtime].unavailable_reason()
        if problem is None and setting.variant not in variants:
            problem = f"the bundle has no {setting.variant}"
        if problem is not None:
            print(f"{head}| {problem} | | | |", flush=True)
            continue
        times, off = measure(setting, number, arguments.bundle, arguments.rounds, arguments.calls)
        ratios = times[:, 1] / times[:, 0]
        low, high = interval(ratios)
        ours, other = np.median(times, axis=0)
        apart = f" (answers {off:.1e} of the range apart)" if off > 1e-4 else ""
        print(
            f"{head}| {ours:.2f} | {other:.2f}{apart} | {np.median(ratios):.2f} | {low:.2f} to {high:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
