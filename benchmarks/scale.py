"""What Ray costs an image, and how a driver's memory grows with the number of paths.

    python benchmarks/scale.py speed efficientnet_lite0.bundle photos
    python benchmarks/scale.py memory efficientnet_lite0.bundle

`speed`: images a second of `pinnace classify`, of the same with `--ray local`, and of a script of Ray Data as
its documentation shows it (`read_images`, a class in an actor pool, `write_parquet`) with the same model, in
turns. Each works off a few images and many, and the difference counts: what it takes to start does not.

`memory`: the largest resident memory of the driver, in MB, by the number of paths. There are no files of such
names, so what is measured is everything but images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bulk import deal

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.cpus import available_cpus

PINNACE = [sys.executable, "-m", "pinnace.cli.main"]

# What https://docs.ray.io/en/latest/data/batch_inference.html does, with this model.
PLAIN = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
bundle, images, output, workers = *sys.argv[1:4], int(sys.argv[4])
import numpy as np
import ray
from PIL import Image
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.runtimes.base import RuntimeOptions

class Predictor:
    def __init__(self):
        self.model = Classifier(Bundle.open(bundle), options=RuntimeOptions(threads=1))

    def __call__(self, batch):
        inputs = [self.model.prepare(Image.fromarray(image))[0] for image in batch["image"]]
        rows = np.concatenate([self.model.infer(one[None]) for one in inputs])
        found = [self.model.predictions(row, 5)[0] for row in rows]
        return {"path": batch["path"], "label": [one.label for one in found],
                "probability": [one.probability for one in found]}

loopback = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
ray.init("local", num_cpus=workers, log_to_driver=False, **loopback)
dataset = ray.data.read_images(images, mode="RGB", include_paths=True)
pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
dataset.map_batches(Predictor, batch_size=16, compute=pool, num_cpus=0.5).write_parquet(output)
"""


def run(line: list[str]) -> tuple[float, float]:
    """Run a command; seconds, and the largest resident memory of its process in MB."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):  # 1: images that cannot be read
            errors.seek(0)
            raise SystemExit(f"this failed: {line}\n{errors.read().decode()}")
    return time.perf_counter() - started, used.ru_maxrss / 1000


def speed(arguments: argparse.Namespace, folder: Path) -> None:
    """Images a second of the three, in turns."""
    sizes = {count: folder / f"{count}" for count in (arguments.few, arguments.many)}
    for count, images in sizes.items():
        deal(arguments.images, count, [images])
    systems = ("pinnace classify", "--ray local", "Ray Data, read_images")
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(arguments.rounds):
        for name in systems:
            took = {}
            for count, images in sizes.items():
                output = folder / f"{number}-{name[:5]}-{count}"
                where = ["--bundle", str(arguments.bundle), "--no-progress", "-o"]
                line = [*PINNACE, "classify", str(images), *where, f"{output}.jsonl"]
                if name == systems[1]:
                    line = [*PINNACE, "classify", str(images), *where, str(output), "--ray", "local"]
                elif name == systems[2]:
                    given = [str(arguments.bundle), str(images), str(output), str(available_cpus())]
                    line = [sys.executable, "-c", PLAIN, *given]
                took[count], _ = run(line)
            rates[name].append(
                (arguments.many - arguments.few) / (took[arguments.many] - took[arguments.few])
            )
            print(name, {count: round(value, 1) for count, value in took.items()}, flush=True)
    print(f"{available_cpus()} CPUs, {read_cpu(Sysfs()).model}; {arguments.rounds} rounds")
    print("| | images/s | beside `pinnace classify` |\n|---|---|---|")
    for name in systems:
        beside = np.median(np.array(rates[name]) / rates[systems[0]])
        print(f"| {name} | {np.median(rates[name]):.0f} | {beside:.2f} |")


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """The driver's largest resident memory by the number of paths."""
    print("| paths | driver, MB | seconds |\n|---|---|---|")
    for count in arguments.paths:
        names = folder / f"{count}.txt"
        with names.open("w") as file:
            file.writelines(
                f"/nowhere/a-folder-of-a-usual-name/{number:012}.jpg\n" for number in range(count)
            )
        where = ["--bundle", str(arguments.bundle), "-o", str(folder / f"{count}"), "--ray", "local"]
        seconds, megabytes = run([*PINNACE, "classify", str(names), *where, "--no-progress"])
        print(f"| {count:,} | {megabytes:.0f} | {seconds:.0f} |", flush=True)


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("speed")
    one.add_argument("bundle", type=Path)
    one.add_argument("images", type=Path)
    one.add_argument("--few", type=int, default=300)
    one.add_argument("--many", type=int, default=3300)
    one.add_argument("--rounds", type=int, default=3)
    one.set_defaults(measure=speed)
    other = verbs.add_parser("memory")
    other.add_argument("bundle", type=Path)
    other.add_argument("--paths", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    other.set_defaults(measure=memory)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinnace-scale-") as name:
        arguments.measure(arguments, Path(name))


if __name__ == "__main__":
    main()
