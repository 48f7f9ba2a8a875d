"""Whether a server's memory and file descriptors stay where they are under mixed good and bad traffic.

    python benchmarks/soak.py BUNDLE --minutes 10

Starts a server of its own and sends it photographs, damaged and hostile files, batches, wrong fields and
requests that are broken off. Prints its memory and descriptors as it goes. The first fifth is warm-up; exit
status 1 where the median memory of the last fifth is more than 5 % above that of the second, or a descriptor
was lost. The load goes to this machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from chaos import ready
from load import Target, request_bytes, run

FILES = Path(__file__).parents[1] / "tests" / "support" / "hostile_files.py"
CLIENTS = 6
PART = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n'


def hostile_cases() -> list[Any]:
    """The files of the tests, apart from the few that take a second each."""
    spec = importlib.util.spec_from_file_location("hostile_files", FILES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [case for case in module.cases() if len(case.data) < 500_000]


def requests(cases: list[Any], seed: int) -> list[bytes]:
    """Requests of every kind, in an order of their own."""
    dice = random.Random(seed)
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    made = [request_bytes("/classify", case.data) for case in cases]
    forms = [PART % (b"image", case.data) + b"--b--\r\n" for case in cases]
    made += [request_bytes("/classify", body, form) for body in forms]
    for _ in range(20):
        parts = b"".join(PART % (b"images", case.data) for case in dice.sample(cases, 8))
        made.append(request_bytes("/classify_batch", parts + b"--b--\r\n", form))
    good = [request_bytes("/classify", case.data) for case in cases if case.status == 200]
    made += good * 3
    made += [request_bytes(f"/nothing/{number}", b"x") for number in range(20)]
    made += [request_bytes("/classify", PART % (b"wrong", b"x") + b"--b--\r\n", form)] * 5
    dice.shuffle(made)
    return made


async def ask(target: Target, mixed: list[bytes], end: float) -> int:
    """Ask until the end; every tenth request is broken off."""
    unexpected = 0
    for number, request in enumerate(itertools.cycle(mixed)):
        if time.perf_counter() > end:
            return unexpected
        if number % 10 == 0:
            _, writer = await asyncio.open_connection(target.host, target.port)
            writer.write(request[: len(request) // 2])
            await asyncio.sleep(0)
            writer.close()
            continue
        unexpected += (await target.send(request)).status in (0, 500)
    return unexpected


async def measure(arguments: argparse.Namespace) -> bool:
    """Do it, and say whether all was well."""
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(arguments.bundle)]
    environment = {**os.environ, "PINNACE_PORT": str(arguments.port)}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        await ready(arguments.port)
        return await watch(arguments, psutil.Process(server.pid).children())
    finally:
        server.terminate()
        server.wait()


async def watch(arguments: argparse.Namespace, workers: list[psutil.Process]) -> bool:
    """Send the traffic and read the workers' memory and descriptors."""

    def megabytes() -> float:
        return sum(worker.memory_info().rss for worker in workers) / 1e6

    def descriptors() -> int:
        return sum(worker.num_fds() for worker in workers)

    seconds = 60 * arguments.minutes
    end = time.perf_counter() + seconds
    target = Target("127.0.0.1", arguments.port)
    cases = hostile_cases()
    for request in requests(cases, CLIENTS):  # the metrics open their files late
        await target.send(request)
    target.close()
    await asyncio.sleep(2)
    idle = descriptors()
    tasks = [asyncio.ensure_future(ask(target, requests(cases, seed), end)) for seed in range(CLIENTS)]
    samples = []
    while time.perf_counter() < end:
        await asyncio.sleep(seconds / 100)
        samples.append(megabytes())
        if len(samples) % 10 == 0:
            print(f"{len(samples):3d} %: {samples[-1]:.0f} MB, {descriptors()} descriptors", flush=True)
    unexpected = sum(await asyncio.gather(*tasks))
    target.close()
    await asyncio.sleep(2)
    fifth = len(samples) // 5
    early, late = statistics.median(samples[fifth : 2 * fifth]), statistics.median(samples[-fifth:])
    lost = descriptors() - idle
    print(f"memory: {early:.0f} MB, then {late:.0f} MB: {100 * (late / early - 1):+.1f} %")
    print(f"descriptors lost: {lost}; statuses 500 or none: {unexpected}")
    return late <= 1.05 * early and lost <= 0 and not unexpected


def main() -> None:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--port", type=int, default=3901)
    sys.exit(0 if run(measure(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
