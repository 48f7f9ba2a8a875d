"""What a record costs the answers: servers of one bundle without a record and with one, asked in turns.

    python benchmarks/recording.py efficientnet_lite0.bundle photo.jpg

All servers run from the beginning and have their turns in rounds, in an order that changes, so that whatever
else the machine does falls on all. `wrk` asks as fast as it is answered. Shown are images a second and CPU an
image as ratios to the server without a record, taken within each round: the median, with a bootstrap interval
(rounds drawn again); and how many rows were written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.cpus import available_cpus

sys.path.insert(0, str(Path(__file__).parent))
from load import request_bytes

from serving import FORM, LUA, Row, drive, stop, wait_until_ready

ALONE = "without"
PART_SECONDS = 5  # so that parts are written while there are answers, however few the rounds are
CONTENT_TYPE = "multipart/form-data; boundary=b"


def start(bundle: Path, port: int, options: list[str], home: Path) -> subprocess.Popen[bytes]:
    """Start a server without a profile."""
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(bundle), "--no-profile"]
    environment = {**os.environ, "BENTOML_HOME": str(home), "PINNACE_RECORD_SECONDS": str(PART_SECONDS)}
    return subprocess.Popen(
        [*command, "--port", str(port), *options], env=environment, stderr=subprocess.DEVNULL
    )


def recorded(port: int) -> dict[str, int]:
    """Rows of the record, by how they ended."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r'^pinnace_record_rows_total\{.*?outcome="(\w+)".*?\} (\S+)$', text, re.MULTILINE)
    return {outcome: int(float(value)) for outcome, value in found}


def measure(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """The rows of each server in every round, and what became of the rows of the records."""
    body = FORM % arguments.photo.read_bytes()
    (folder / "body").write_bytes(body)
    script = folder / "body.lua"
    script.write_text(LUA % (CONTENT_TYPE, folder / "body"))
    request = request_bytes("/classify", body, {"Content-Type": CONTENT_TYPE})
    kinds = {
        ALONE: [],
        "rows": ["--record", str(folder / "rows")],
        "rows and images": ["--record", str(folder / "images"), "--record-images"],
    }
    found: dict[str, list[Row]] = {kind: [] for kind in kinds}
    written: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        running = {}
        for number, (kind, options) in enumerate(kinds.items()):
            port = arguments.port + number
            running[kind] = server = start(arguments.bundle, port, options, folder / str(number))
            stack.callback(stop, server)
            wait_until_ready(server, port, request)
        for number in range(arguments.rounds):
            turns = list(enumerate(kinds))
            turns = turns[number % len(turns) :] + turns[: number % len(turns)]
            for place, kind in turns:
                url = f"http://127.0.0.1:{arguments.port + place}/classify"
                process = psutil.Process(running[kind].pid)
                found[kind].append(drive(process, script, url, arguments.connections, arguments.seconds))
        time.sleep(PART_SECONDS + 2)
        for place, kind in enumerate(kinds):
            written |= {f"{kind}: {what}": rows for what, rows in recorded(arguments.port + place).items()}
    return found, written


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--port", type=int, default=3932, help="and the two after it")
    parser.add_argument("--rounds", type=int, default=18)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinnace-recording-") as name:
        found, written = measure(arguments, Path(name))
    print(f"{available_cpus()} CPUs, {read_cpu(Sysfs()).model}; {arguments.rounds} rounds")
    print("| record | images/s | ratio | CPU ms an image | ratio | p99 ms | failed |")
    print("|---|---|---|---|---|---|---|")
    for kind, rows in found.items():
        cells = [kind]
        for attribute in ("rate", "cpu"):
            values, alone = (
                np.array([getattr(row, attribute) for row in each]) for each in (rows, found[ALONE])
            )
            cells += [f"{np.median(values):.2f}", "" if kind == ALONE else _interval(values / alone)]
        cells += [f"{np.median([row.p99 for row in rows]):.1f}", str(sum(row.errors for row in rows))]
        print(f"| {' | '.join(cells)} |")
    print("; ".join(f"{what} {rows:,}" for what, rows in written.items()))
    sys.exit(any(row.errors for rows in found.values() for row in rows))


def _interval(ratios: np.ndarray) -> str:
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
