"""What a shadow costs the answers: two servers of one bundle, one of them with a shadow, asked in turns.

    python benchmarks/shadow.py efficientnet_lite0.bundle photo.jpg --shadow other.bundle --share 0.1

Both servers run from the beginning and have their turns in rounds, first one and then the other, so that
whatever else the machine does falls on both. Open loop at a fixed rate. Percentiles of all rounds together
are shown, with a bootstrap interval (rounds drawn again) of their ratio; and what the shadow did.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.cpus import available_cpus

sys.path.insert(0, str(Path(__file__).parent))
from load import Target, open_loop, request_bytes, run, statuses

from serving import stop, wait_until_ready


def start(
    arguments: argparse.Namespace, port: int, options: list[str], home: Path
) -> subprocess.Popen[bytes]:
    """Start a server without a profile."""
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(arguments.bundle), "--no-profile"]
    command += ["--port", str(port), *options]
    environment = {**os.environ, "BENTOML_HOME": str(home)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def ask(port: int, request: bytes, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each answer, from when its request was due."""
    replies = run(open_loop(Target("127.0.0.1", port, timeout=30), lambda: request, rate, seconds))
    if statuses(replies).keys() != {200}:
        sys.exit(f"the server answered {statuses(replies)}")
    return [1000 * reply.seconds for reply in replies]


def shadowed(port: int) -> dict[str, int]:
    """How many images the shadow was given, by how they ended."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for outcome, value in re.findall(
        r'^pinnace_shadow_total\{.*?outcome="(\w+)".*?\} (\S+)$', text, re.MULTILINE
    ):
        found[outcome] = found.get(outcome, 0) + int(float(value))
    return found


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--shadow", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=40, help="requests a second")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--port", type=int, default=3922, help="and the one after it")
    arguments = parser.parse_args()
    request = request_bytes("/classify", arguments.photo.read_bytes(), {"Content-Type": "image/jpeg"})
    kinds = {
        "alone": [],
        "with a shadow": ["--shadow", str(arguments.shadow), "--shadow-share", str(arguments.share)],
    }
    times: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="pinnace-shadow-") as name, contextlib.ExitStack() as stack:
        ports = {}
        for number, (kind, options) in enumerate(kinds.items()):
            ports[kind] = arguments.port + number
            server = start(arguments, ports[kind], options, Path(name) / str(number))
            stack.callback(stop, server)
            wait_until_ready(server, ports[kind], request)
        for number in range(arguments.rounds):
            for kind in list(kinds) if number % 2 else reversed(kinds):
                times[kind].append(ask(ports[kind], request, arguments.rate, arguments.seconds))
        told = shadowed(ports["with a shadow"])
    print(f"{available_cpus()} CPUs, {read_cpu(Sysfs()).model}; {arguments.rate:g} requests a second")
    print("| server | p50 ms | p90 ms | p99 ms | requests |\n|---|---|---|---|---|")
    for kind, rounds in times.items():
        every = np.concatenate(rounds)
        p50, p90, p99 = np.percentile(every, (50, 90, 99))
        print(f"| {kind} | {p50:.2f} | {p90:.2f} | {p99:.2f} | {len(every)} |")
    alone, beside = times.values()
    draws = np.random.default_rng(0).integers(0, len(alone), (2000, len(alone)))
    for percent in (50, 99):
        ratio = _ratio(alone, beside, np.arange(len(alone)), percent)
        low, high = np.percentile([_ratio(alone, beside, draw, percent) for draw in draws], (2.5, 97.5))
        print(f"p{percent} with a shadow / alone: {ratio:.3f} ({low:.3f} to {high:.3f})")
    print("the shadow:", ", ".join(f"{count} {outcome}" for outcome, count in told.items()))


def _ratio(alone: list[list[float]], beside: list[list[float]], rounds: np.ndarray, percent: float) -> float:
    """Of a percentile, over some of the rounds."""
    first, second = (np.concatenate([each[number] for number in rounds]) for each in (alone, beside))
    return float(np.percentile(second, percent) / np.percentile(first, percent))


if __name__ == "__main__":
    main()
