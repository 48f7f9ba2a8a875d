"""What it costs a request to be counted, named and timed: CPU time of each part alone, the best of some runs.

    python benchmarks/observing.py

It needs no server and no load, so it says the same on a machine that does other things too.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from pinnace.models.answer import Answer, Timing
from pinnace.serving.observability.metrics import Metrics, server_timing
from pinnace.serving.observability.request_log import RequestLog
from pinnace.serving.routes import RouteTable

RUNS = 5
CALLS = 5000


def microseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        for _ in range(CALLS):
            work()
        best = min(best, time.process_time() - started)
    return 1e6 * best / CALLS


def microseconds_of_app(app: Any) -> float:
    """CPU time of one request to an ASGI application."""
    scope = {
        "type": "http",
        "path": "/classify",
        "method": "POST",
        "headers": [(b"content-type", b"image/png")],
    }

    async def nothing(*_: Any) -> None:
        pass

    async def ask() -> None:
        for _ in range(CALLS):
            await app(dict(scope), nothing, nothing)

    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        asyncio.run(ask())
        best = min(best, time.process_time() - started)
    return 1e6 * best / CALLS


async def answer(scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """An application that does nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # as in a worker
        metrics = Metrics()
        metrics.start(2)
        model = metrics.for_model("resnet50", "onnx-fp32", "onnxruntime")
        timing = Timing(0.8, 3.1, 0.1, 11.8, 16.0)
        done: Future[Answer] = Future()
        done.set_result(Answer("resnet50", "onnx-fp32", "onnxruntime", (), timing))
        costs = {
            "gauges, as an image comes and goes": microseconds(
                lambda: (metrics.in_flight(1), metrics.in_flight(0))
            ),
            "counter and five histograms": microseconds(lambda: model.record(done)),
            "Server-Timing": microseconds(lambda: server_timing(timing)),
            "X-Request-ID": microseconds_of_app(RequestLog(answer, lines=False, routes=RouteTable([])))
            - microseconds_of_app(answer),
        }
        for name, cost in {**costs, "together": sum(costs.values())}.items():
            print(f"{name:36s} {cost:6.1f} µs")


if __name__ == "__main__":
    main()
