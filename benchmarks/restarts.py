"""Whether a server is as fast after one start as after another.

    python benchmarks/restarts.py efficientnet_lite0.bundle photo.jpg --starts 10

Where several processes share one listening socket, which of them gets a connection is a matter of luck, and
with connections that are kept alive it stays so. Starts the server again and again, drives it with `wrk` over
4 and 16 connections, and prints images/s as a ratio to the base limit (`serving.py`) beside it, and the share
of the CPUs that the server kept busy, which neighbours of the machine disturb less. Exit status 1 where the
worst start kept them less busy than nine tenths of the best. The load goes to this machine only.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import psutil

from pinnace.models.cpus import available_cpus

sys.path.insert(0, str(Path(__file__).parent))
from load import request_bytes

from serving import LUA, PINNACE, base, drive, start, stop, wait_until_ready

WITHIN = 0.9


def measure(arguments: argparse.Namespace, folder: Path) -> bool:
    """Print a row for each start; whether the worst kept the CPUs nearly as busy as the best."""
    cpus = available_cpus()
    photo = arguments.photo.read_bytes()
    script = folder / "raw.lua"
    script.write_text(LUA % ("image/jpeg", arguments.photo.absolute()))
    url = f"http://127.0.0.1:{arguments.port}/classify"
    ratios: dict[int, list[float]] = {connections: [] for connections in arguments.connections}
    busy: dict[int, list[float]] = {connections: [] for connections in arguments.connections}
    for number in range(1, arguments.starts + 1):
        server = start(PINNACE, arguments)
        try:
            wait_until_ready(server, arguments.port, request_bytes("/classify", photo))
            process = psutil.Process(server.pid)
            drive(process, script, url, 2 * cpus, 2)
            for connections in arguments.connections:
                # Base and server take turns, so that a neighbour's load falls on both.
                before = base(arguments.bundle, arguments.photo, arguments.seconds / 2, cpus)
                row = drive(process, script, url, connections, arguments.seconds)
                after = base(arguments.bundle, arguments.photo, arguments.seconds / 2, cpus)
                ratios[connections].append(2 * row.rate / (before.rate + after.rate))
                busy[connections].append(row.rate * row.cpu / 1000 / cpus)
        finally:
            stop(server)
        columns = (
            f"{connections}: {ratios[connections][-1]:.2f}, busy {busy[connections][-1]:.2f}"
            for connections in ratios
        )
        print(f"start {number}; " + "; ".join(columns), flush=True)
    for connections, values in ratios.items():
        print(
            f"{connections} connections: ratio {min(values):.2f} to {max(values):.2f}, "
            f"worst {min(values) / max(values):.2f} of best; "
            f"busy {min(busy[connections]):.2f} to {max(busy[connections]):.2f}"
        )
    return all(min(values) >= WITHIN * max(values) for values in busy.values())


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--port", type=int, default=3903)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, nargs="+", default=[4, 16])
    parser.add_argument("options", nargs="*", help="more options for pinnace serve, after --")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="pinnace-restarts-") as name:
        sys.exit(0 if measure(arguments, Path(name)) else 1)


if __name__ == "__main__":
    main()
