"""How fast servers answer beside the same work in process, all in turns: for machines that have other work.

    python benchmarks/serving_in_turns.py efficientnet_lite0.bundle photo.jpg --peers fastapi-onnx

As `serving.py`, whose base limit, servers and peers these are. But all servers run from the beginning, and
the base limit and they have their turns in rounds, so that whatever else the machine does falls on all. The
ratios are taken within a round; the median, the smallest and the largest are shown.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.cpus import available_cpus

sys.path.insert(0, str(Path(__file__).parent))
from load import request_bytes
from peers import PEERS

from serving import CACHE, FORM, LUA, PINNACE, Row, base, drive, start, stop, wait_until_ready

CONTENT_TYPE = "multipart/form-data; boundary=b"


def measure(arguments: argparse.Namespace, folder: Path) -> dict[tuple[str, int], list[tuple[float, Row]]]:
    """For each server and number of connections, its ratio to the base limit and its row in each round."""
    body = FORM % arguments.photo.read_bytes()
    (folder / "body").write_bytes(body)
    script = folder / "body.lua"
    script.write_text(LUA % (CONTENT_TYPE, folder / "body"))
    request = request_bytes("/classify", body, {"Content-Type": CONTENT_TYPE})
    ports = {name: arguments.port + number for number, name in enumerate((PINNACE, *arguments.peers))}
    running: dict[str, subprocess.Popen[bytes]] = {}
    found: dict[tuple[str, int], list[tuple[float, Row]]] = {}
    try:
        for name, port in ports.items():
            running[name] = start(name, argparse.Namespace(**{**vars(arguments), "port": port}))
            wait_until_ready(running[name], port, request)
        for _ in range(arguments.rounds):
            plain = base(arguments.bundle, arguments.photo, arguments.seconds, available_cpus())
            for (name, port), connections in itertools.product(ports.items(), arguments.connections):
                url = f"http://127.0.0.1:{port}/classify"
                process = psutil.Process(running[name].pid)
                row = drive(process, script, url, connections, arguments.seconds)
                found.setdefault((name, connections), []).append((row.rate / plain.rate, row))
    finally:
        for server in running.values():
            stop(server)
    return found


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--port", type=int, default=3902, help="and those after it")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--peers", nargs="+", default=[], choices=list(PEERS), metavar="PEER")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the environments of peers are")
    parser.add_argument("options", nargs="*", help="more options for pinnace serve, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinnace-serving-") as name:
        found = measure(arguments, Path(name))
    print(f"{available_cpus()} CPUs, {read_cpu(Sysfs()).model}; {arguments.rounds} rounds, multipart")
    print("| server | connections | ratio | smallest | largest | errors |\n|---|---|---|---|---|---|")
    for (name, connections), rows in found.items():
        ratios = [ratio for ratio, _ in rows]
        spread = f"{np.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f}"
        print(f"| {name} | {connections} | {spread} | {sum(row.errors for _, row in rows)} |")
    sys.exit(any(row.errors for rows in found.values() for _, row in rows))


if __name__ == "__main__":
    main()
