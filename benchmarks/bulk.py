"""How many images a second one command works off, beside as many single processes as there are CPUs.

    python benchmarks/bulk.py classify efficientnet_lite0.bundle photos --images 2000

The images, links to those of the folder, are dealt out to one folder for each CPU. In turns, one process of
one thread answers for each folder, all at once, and one command answers for all of them; both start anew, and
their starts count. The ratio is taken within a round: 1 means that the command is as fast as the processes.
With `--busy N`, so many other processes want the CPUs all the while.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.cpus import available_cpus
from pinnace.models.image.find import find_images

PINNACE = [sys.executable, "-m", "pinnace.cli.main"]
SPIN = "while True: pass"


def deal(images: Path, count: int, parts: Sequence[Path]) -> None:
    """Link images into folders, in turn; each in a folder of its own one's name, as `eval` needs it."""
    found = itertools.cycle(find_images([images]).images)
    for number, image in zip(range(count), found, strict=False):
        source = Path(image).absolute()
        link = parts[number % len(parts)] / source.parent.name / f"{number:07}{source.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)


def command(verb: str, bundle: Path, folder: Path, output: Path, *, alone: bool) -> list[str]:
    """The command line for one folder; `alone` for a single process of one thread."""
    if verb == "eval":
        return [
            *PINNACE,
            "eval",
            str(bundle),
            "--images",
            str(folder),
            *(["--threads", "1"] if alone else []),
        ]
    line = [*PINNACE, verb, str(folder), "--bundle", str(bundle), "-o", str(output), "--no-progress"]
    return [*line, "--concurrency", "1", "--threads", "1"] if alone else line


def seconds(lines: Sequence[Sequence[str]]) -> float:
    """How long commands take that run at once."""
    started = time.perf_counter()
    running = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for line in lines]
    statuses = [process.wait() for process in running]
    if any(statuses):
        raise SystemExit(f"this failed: {lines[0]}")
    return time.perf_counter() - started


def measure(arguments: argparse.Namespace, folder: Path) -> list[tuple[float, float]]:
    """Seconds of the single processes and of the one command, by round."""
    cpus = available_cpus()
    parts = [folder / "images" / f"part{number}" for number in range(cpus)]
    deal(arguments.folder, arguments.images, parts)
    whole = folder / "images"
    if arguments.verb == "eval":
        whole = folder / "all"
        deal(arguments.folder, arguments.images, [whole])
    rounds = []
    for number in range(arguments.rounds):
        to = folder / f"round{number}"
        to.mkdir()
        singles = [
            command(arguments.verb, arguments.bundle, part, to / f"{part.name}.jsonl", alone=True)
            for part in parts
        ]
        one = command(arguments.verb, arguments.bundle, whole, to / "all.jsonl", alone=False)
        took = seconds(singles), seconds([one])
        print(f"{arguments.images / took[0]:.1f} {arguments.images / took[1]:.1f} images/s", flush=True)
        rounds.append(took)
    return rounds


def main() -> None:
    """Read the command line, measure, and print a line of a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=["classify", "embed", "eval"])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path, help="images; for eval one folder for each class")
    parser.add_argument("--images", type=int, default=2000, help="so many links to them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, help="other processes that want the CPUs")
    arguments = parser.parse_args()
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(arguments.busy)]
    try:
        with tempfile.TemporaryDirectory(prefix="pinnace-bulk-") as name:
            rounds = measure(arguments, Path(name))
    finally:
        for other in others:
            other.kill()
            other.wait()
    ratios = [singles / one for singles, one in rounds]
    rates = [arguments.images / np.median(column) for column in zip(*rounds, strict=True)]
    print(f"{available_cpus()} CPUs, {read_cpu(Sysfs()).model}; {arguments.busy} other processes")
    print("| command | single processes, images/s | one command | ratio | smallest | largest |")
    print("|---|---|---|---|---|---|")
    spread = f"{np.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f}"
    print(f"| {arguments.verb} | {rates[0]:.0f} | {rates[1]:.0f} | {spread} |")


if __name__ == "__main__":
    main()
