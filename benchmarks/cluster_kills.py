"""Whether a run on a Ray cluster survives: raylets and drivers are killed at random moments.

    python benchmarks/cluster_kills.py efficientnet_lite0.bundle photos --kills 10

A cluster of three raylets shares the CPUs. One run is left alone. Then a raylet is killed in each of so many
runs, and the driver in so many others, which are continued. The rows have to be those of the first run, none
missing and none twice.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PINNACE = [sys.executable, "-m", "pinnace.cli.main"]
SECONDS = 300


class Raylets:
    """A cluster on loopback: a head without CPUs, and two raylets of one CPU each.

    Not on 127.0.0.1, which Ray takes for another name of the address to the network.
    """

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.2"}
        self._memory = {"object_store_memory": 100 * 2**20}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args={**head, **self._memory})
        self.address: str = self._cluster.address
        self._nodes = [self._add(), self._add()]

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2", **self._memory)

    def kill_one(self) -> None:
        """Kill a raylet, without a word."""
        self._cluster.remove_node(self._nodes.pop(random.randrange(len(self._nodes))), allow_graceful=False)

    def replace(self) -> None:
        """Start another for each that was killed."""
        while len(self._nodes) < 2:
            self._nodes.append(self._add())

    def stop(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


def command(bundle: Path, images: Path, output: Path, address: str, shard_size: int) -> list[str]:
    """The command that is tried."""
    where = ["--bundle", str(bundle), "-o", str(output), "--ray", address, "--no-progress"]
    return [*PINNACE, "classify", str(images), *where, "--shard-size", str(shard_size)]


def rows(output: Path) -> list[dict[str, Any]]:
    """All rows of all parts, by their paths; nothing else may be beside them."""
    import pyarrow.parquet

    found: list[dict[str, Any]] = []
    for part in sorted(output.iterdir()):
        if part.name.startswith("part-"):
            found += pyarrow.parquet.read_table(part).to_pylist()
        elif part.name not in ("_job.json", "_list"):
            raise SystemExit(f"{part} should not be there")
    return sorted(found, key=lambda row: str(row["path"]))


def wait_for_parts(output: Path, count: int, process: subprocess.Popen[bytes] | None = None) -> int:
    """Wait until so many parts are there, or the process has ended; return how many there are."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = len(list(output.glob("part-*")))
        if found >= count or (process is not None and process.poll() is not None):
            return found
        time.sleep(0.02)
    raise SystemExit(f"{output} has no {count} parts after {SECONDS} seconds")


def run_and_kill(line: list[str], output: Path, kill: Any, parts: int) -> int:
    """Start a command, kill something when so many parts are there, and return its exit status."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = wait_for_parts(output, parts, process)
        kill(process)
        print(f"killed when {found} parts were there", end="; ", flush=True)
        return process.wait(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Read the command line, kill, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of raylets, and as many of drivers")
    parser.add_argument("--shard-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    raylets = Raylets()
    different = 0
    try:
        with tempfile.TemporaryDirectory(prefix="pinnace-kills-") as name:
            whole = Path(name, "whole")
            given = (arguments.bundle, arguments.images)
            subprocess.run(
                command(*given, whole, raylets.address, arguments.shard_size), check=True, capture_output=True
            )
            expected, parts = rows(whole), len(list(whole.glob("part-*")))
            print(f"{len(expected)} rows in {parts} parts")
            for number in range(2 * arguments.kills):
                output = Path(name, str(number))
                line = command(*given, output, raylets.address, arguments.shard_size)
                moment = random.randrange(parts)
                if number < arguments.kills:
                    what = "raylet"
                    run_and_kill(line, output, lambda _: raylets.kill_one(), moment)
                    if random.random() < 0.5:
                        raylets.replace()
                else:
                    what = "driver"
                    run_and_kill(line, output, lambda process: process.kill(), moment)
                if what == "driver" or len(list(output.glob("part-*"))) < parts:
                    subprocess.run(line, check=True, capture_output=True, timeout=SECONDS)
                same = rows(output) == expected
                different += not same
                print(
                    f"{what} {number % arguments.kills}: {'the same rows' if same else 'OTHER ROWS'}",
                    flush=True,
                )
                raylets.replace()
    finally:
        raylets.stop()
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
