"""A latency report of made-up figures, for tests of what reads and draws one."""

from __future__ import annotations

import random

from pinnace.latency.device.types import CpuInfo, DeviceInfo, DeviceSample
from pinnace.latency.report import SCHEMA_VERSION, LatencyReport
from pinnace.latency.result import Result
from pinnace.latency.result_parts import (
    Bound,
    Caveat,
    RatePoint,
    Ratio,
    Round,
    Samples,
    Stages,
    State,
    WarmUp,
)
from pinnace.latency.settings import BenchSettings


def result(
    variant: str = "onnx-fp32",
    runtime: str = "onnxruntime",
    scenario: str = "single-stream",
    *,
    median_ms: float = 10.0,
    count: int = 200,
    seed: int = 0,
) -> Result:
    """A row whose latencies are spread by a tenth or so around a median."""
    made = random.Random(seed)
    taken = [round(median_ms * made.lognormvariate(0, 0.05), 4) for _ in range(count)]
    starts, now = [], 0.0
    for each in taken:
        starts.append(round(now, 6))
        now += each / 1000
    ordered = sorted(taken)
    mean = sum(taken) / count
    std = (sum((each - mean) ** 2 for each in taken) / count) ** 0.5
    samples = tuple(
        DeviceSample(
            float(second),
            cpu_mhz=3000.0 - 10 * second,
            temperatures_c={"Tctl": 50.0 + second},
            other_load=0.1,
        )
        for second in range(int(now) + 2)
    )
    rates: tuple[RatePoint, ...] = ()
    if scenario == "server":
        rates = tuple(
            RatePoint(rate, min(rate, 95.0), 10 + rate / 20, 12 + rate / 5, int(10 * rate), 0, rate <= 80)
            for rate in (20.0, 40.0, 60.0, 80.0, 100.0, 120.0)
        )
    return Result(
        model="resnet50",
        source="torchvision:resnet50@IMAGENET1K_V2",
        variant=variant,
        runtime=runtime,
        provider="CPUExecutionProvider",
        precision=variant.partition("-")[2] or "fp32",
        device="cpu",
        threads=2,
        batch=1,
        scenario=scenario,
        timed="infer",
        input={"input": (1, 3, 224, 224)},
        p50_ms=ordered[count // 2],
        p90_ms=ordered[int(count * 0.9)],
        p95_ms=ordered[int(count * 0.95)],
        p99_ms=ordered[int(count * 0.99)],
        mean_ms=mean,
        min_ms=ordered[0],
        max_ms=ordered[-1],
        std_ms=std,
        cv=std / mean,
        throughput=1000 / mean,
        samples=count,
        duration_s=now,
        loadgen="pinnace",
        early_stopping=(Bound(90.0, ordered[-8], 64), Bound(99.0, None, 662)),
        latencies=Samples(tuple(starts), tuple(taken)),
        stages=Stages(decode=1.5, preprocess=2.5, compute=median_ms),
        ratio=Ratio("onnx-fp32 onnxruntime", 10.0 / median_ms, 9.5 / median_ms, 10.5 / median_ms, 5),
        rounds=tuple(Round(starts[40 * turn], 40, ordered[count // 2]) for turn in range(count // 40)),
        rates=rates,
        warm_up=WarmUp(1.2, (12.0, 10.4, 10.1, 10.0), True),
        state=State(samples[0], samples[1:-1], samples[-1]),
        warnings=(Caveat("variation", "the latencies vary by 5.1 % (coefficient of variation)"),),
    )


def report(*results: Result) -> LatencyReport:
    """A report of these rows, or of one."""
    return LatencyReport(
        schema_version=SCHEMA_VERSION,
        created="2026-01-31T12:00:00Z",
        pinnace="0.1.0",
        device=DeviceInfo(
            name="AMD EPYC 7B13",
            system="Linux 6.1.0 x86_64",
            python="3.11.7",
            cpu=CpuInfo("AMD EPYC 7B13", cpus=2, available=2, flags=("avx2", "fma")),
            memory_bytes=16 << 30,
            packages={"onnxruntime": "1.23.2"},
        ),
        settings=BenchSettings("resnet50.bundle", ("single-stream",), 10.0, 100, 1, threads=2),
        results=results or (result(),),
        warnings=(Caveat("governor", "the frequency governor is powersave, not performance"),),
    )
