"""Whether a run on a Ray cluster survives: raylets and drivers are killed at random moments.

    python benchmarks/cluster_kills.py efficientnet_lite0.bundle photos --kills 10

A cluster of three raylets shares the CPUs. One run is left alone. Then a raylet is killed in each of so many
runs, and the driver in so many others, which are continued. Half of the moments are a second of the run, its
start included, and half a number of parts that are there; half of the raylets are replaced at once. The rows
have to be those of the first run, none missing and none twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PINNACE = [sys.executable, "-m", "pinnace.cli.main"]
SECONDS = 300

# 1: some images cannot be read.
ENDED = (0, 1)


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

    def lose_the_head(self) -> None:
        """Kill the raylet of the head, which is that of the drivers, without a word."""
        self._cluster.head_node.kill_raylet()

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


def wait_for_parts(output: Path, count: int, process: subprocess.Popen[Any] | None = None) -> int:
    """Wait until so many parts are there, or the process has ended; return how many there are."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = len(list(output.glob("part-*")))
        if found >= count or (process is not None and process.poll() is not None):
            return found
        time.sleep(0.02)
    raise SystemExit(f"{output} has no {count} parts after {SECONDS} seconds")


def run_and_kill(
    line: list[str],
    output: Path,
    kill: Callable[[subprocess.Popen[bytes]], None],
    *,
    parts: int = 0,
    seconds: float = 0.0,
) -> int:
    """Start a command, and kill something after so many seconds and when so many parts are there.

    Returns:
        The exit status of the command.
    """
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        found = wait_for_parts(output, parts, process)
        ended = process.poll() is not None
        kill(process)
        print(
            f"killed {'after the end' if ended else f'when {found} parts were there'}", end="; ", flush=True
        )
        return process.wait(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Read the command line, kill, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of each of these")
    parser.add_argument("--of", choices=["raylet", "driver"], nargs="+", default=["raylet", "driver"])
    parser.add_argument("--shard-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    raylets = Raylets()
    different = 0
    try:
        with tempfile.TemporaryDirectory(prefix="pinnace-kills-") as name:
            given = (arguments.bundle, arguments.images)

            def line_to(output: Path) -> list[str]:
                return command(*given, output, raylets.address, arguments.shard_size)

            whole = Path(name, "whole")
            started = time.monotonic()
            finish(line_to(whole))
            took = time.monotonic() - started  # longer than a later one takes, which finds everything read
            expected, parts = rows(whole), len(list(whole.glob("part-*")))
            print(f"{len(expected)} rows in {parts} parts, {took:.0f} s", flush=True)
            for what in arguments.of:
                for number in range(arguments.kills):
                    output = Path(name, f"{what}{number}")
                    in_place = random.random() < 0.5

                    def kill(
                        driver: subprocess.Popen[bytes], what: str = what, again: bool = in_place
                    ) -> None:
                        if what == "driver":
                            driver.kill()
                            return
                        raylets.kill_one()
                        if again:
                            raylets.replace()

                    moment = {"parts": random.randrange(1, parts)}
                    if number % 2:
                        moment = {"seconds": random.uniform(0, 0.8 * took)}
                    status = run_and_kill(line_to(output), output, kill, **moment)
                    raylets.replace()
                    if status not in ENDED:
                        finish(line_to(output))
                    same = rows(output) == expected
                    different += not same
                    print(
                        f"{what} {number}: exit status {status}; {'the same rows' if same else 'OTHER ROWS'}",
                        flush=True,
                    )
    finally:
        raylets.stop()
    sys.exit(bool(different))


def finish(line: list[str]) -> None:
    """Run a command to its end."""
    ended = subprocess.run(line, capture_output=True, timeout=SECONDS)
    if ended.returncode not in ENDED:
        raise SystemExit(f"this failed: {line}\n{ended.stderr.decode()}")


if __name__ == "__main__":
    main()
