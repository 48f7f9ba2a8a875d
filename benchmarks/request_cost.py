"""What the server itself costs: CPU time of a request beside a bare Starlette server and the work in process.

    python benchmarks/request_cost.py

The model is a global average, and the picture of 20 x 14 pixels is a JPEG with zeros behind its end, which no
decoder reads: the body is as long as that of a photograph and costs nothing to decode. What the same bytes
take in process (decoding, preprocessing, the model, naming), in one process for each CPU, is measured too;
the rest is the server's own.

The bare server is Starlette on uvicorn with uvloop and httptools: it awaits the body and answers with as much
JSON. Each server is one process. In each round all have their turn; the medians are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from load import Target, closed_loop, request_bytes, run, statuses

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.cpus import available_cpus
from pinnace.models.runtimes.base import RuntimeOptions
from serving import cpu_seconds, stop, wait_until_ready
from support.tiny_bundle import build_bundle, encode

BARE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

labels = ("reddish", "bright", "greenish", "bluish", "dark")
answer = {"model": "tiny", "version": "0123456789ab", "variant": "onnx-fp32", "runtime": "onnxruntime"}
answer["predictions"] = [{"label": label, "index": 0, "probability": 0.123456789012345} for label in labels]
answer["timing_ms"] = {stage: 0.123 for stage in ("decode", "preprocess", "queue", "infer", "total")}

async def classify(request):
    await request.body()
    return JSONResponse(answer)

app = Starlette(routes=[Route("/classify", classify, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="error")
"""


WARM_UPS = 200


def start(name: str, bundle: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a server of one process."""
    command = [sys.executable, "-c", BARE, str(port)]
    if name == "pinnace":
        command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(bundle), "--workers", "1"]
        command += ["--port", str(port)]
    return subprocess.Popen(command, env={**os.environ}, stderr=subprocess.DEVNULL)


def milliseconds_served(
    server: psutil.Process, port: int, request: bytes, clients: int, seconds: float
) -> float:
    """CPU time of all processes of a server, a request."""
    family = [server, *server.children(recursive=True)]

    async def ask() -> int:
        target = Target("127.0.0.1", port)
        replies = await closed_loop(target, lambda: request, clients, seconds)
        target.close()
        if set(statuses(replies)) != {200}:
            sys.exit(f"not every request was answered: {statuses(replies)}")
        return len(replies)

    before = cpu_seconds(family)
    count = run(ask())
    return 1000 * (cpu_seconds(family) - before) / count


def milliseconds_in_process(bundle: Path, body: bytes, seconds: float) -> float:
    """CPU time of one answer in this process."""
    with Classifier(Bundle.open(bundle), options=RuntimeOptions(threads=1)) as classifier:
        for _ in range(WARM_UPS):
            classifier.classify(body)
        count, started, end = 0, time.process_time(), time.perf_counter() + seconds
        while time.perf_counter() < end:
            classifier.classify(body)
            count += 1
        return 1000 * (time.process_time() - started) / count


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Milliseconds of each round: of `bare`, of `pinnace`, and of the same work `in process`."""
    bundle = build_bundle(folder / "tiny.bundle")
    picture = encode((200, 30, 30), format="JPEG")
    body = picture + bytes(arguments.bytes - len(picture))
    request = request_bytes("/classify", body, {"Content-Type": "image/jpeg"})
    ports = {"bare": arguments.port, "pinnace": arguments.port + 1}
    running: dict[str, subprocess.Popen[bytes]] = {}
    found: dict[str, list[float]] = {}
    try:
        for name, port in ports.items():
            running[name] = start(name, bundle, port)
            wait_until_ready(running[name], port, request)
        for _ in range(arguments.rounds + 1):
            for name, port in ports.items():
                server = psutil.Process(running[name].pid)
                taken = milliseconds_served(server, port, request, arguments.clients, arguments.seconds)
                found.setdefault(name, []).append(taken)
            # All CPUs are busy, as they are while a server is asked: two of them may be one core.
            with ProcessPoolExecutor(available_cpus(), get_context("spawn")) as pool:
                asked = [
                    pool.submit(milliseconds_in_process, bundle, body, arguments.seconds)
                    for _ in range(available_cpus())
                ]
                found.setdefault("in process", []).append(statistics.mean(one.result() for one in asked))
    finally:
        for server in running.values():
            stop(server)
    return {name: times[1:] for name, times in found.items()}  # the first round warms up


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=3930, help="and the one after it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each turn")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--bytes", type=int, default=150_000, help="of the body")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinnace-request-cost-") as name:
        found = measure(arguments, Path(name))
    cpu = read_cpu(Sysfs()).model
    print(f"{cpu}; {arguments.rounds} rounds, {arguments.clients} clients, {arguments.bytes:,} bytes")
    own = [all_of_it - work for all_of_it, work in zip(found["pinnace"], found["in process"], strict=True)]
    print("| | CPU ms a request | smallest | largest |\n|---|---|---|---|")
    for name, times in {**found, "pinnace, its own": own}.items():
        print(f"| {name} | {statistics.median(times):.3f} | {min(times):.3f} | {max(times):.3f} |")


if __name__ == "__main__":
    main()
