"""How soon a server answers after its start, and how much memory it holds at rest, beside peers.

    python benchmarks/footprint.py efficientnet_lite0.bundle photo.jpg --peers fastapi-onnx

Every start is of fresh processes: the time goes from the start of `pinnace serve` to the whole of the first
answer 200 to an image, over a connection that is tried again every few milliseconds. The first round warms
the page cache and what the server remembers between two starts, and is shown for itself. Servers take turns
within a round, with one worker for each CPU. Then every worker answers some images, and after a pause the
memory of all processes is read: PSS counts a page that several share once, RSS once for each. The load goes
to this machine only.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.cpus import available_cpus

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS

from serving import CACHE, FORM, PINNACE, stop

HEADERS = {"Content-Type": "multipart/form-data; boundary=b"}
PATIENCE = 60.0
ASK_AGAIN = 0.005
IMAGES = 40
REST = 2.0


@dataclass(frozen=True)
class Footprint:
    """One start: seconds to the first answer, CPU seconds until then; MB at rest; each process's PSS."""

    seconds: float
    cpu: float
    pss: float
    rss: float
    processes: tuple[float, ...]


def ask(port: int, body: bytes) -> bool:
    """Whether an image is answered with 200, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", "/classify", body, HEADERS)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start(name: str, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start Pinnace as its users do, or a peer."""
    if name != PINNACE:
        return PEERS[name].start(arguments.cache / name, arguments.bundle, arguments.port, available_cpus())
    command = [Path(sys.executable).with_name("pinnace"), "serve", arguments.bundle]
    command += ["--port", str(arguments.port), *arguments.options]
    return subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)


def family(server: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The server and all its processes."""
    parent = psutil.Process(server.pid)
    return [parent, *parent.children(recursive=True)]


def measure(name: str, arguments: argparse.Namespace, body: bytes) -> Footprint:
    """Start a server, ask until it answers, let it rest, and stop it."""
    begun = time.perf_counter()
    server = start(name, arguments)
    try:
        while not ask(arguments.port, body):
            if server.poll() is not None or time.perf_counter() - begun > PATIENCE:
                sys.exit(f"the server does not answer: {server.args!r}")
            time.sleep(ASK_AGAIN)
        seconds = time.perf_counter() - begun
        cpu = sum(sum(process.cpu_times()[:2]) for process in family(server))
        # Workers that are not ready yet, and Pillow's decoders that are not loaded yet, would hold less.
        time.sleep(REST)
        if not all(ask(arguments.port, body) for _ in range(IMAGES)):
            sys.exit(f"the server does not answer every image: {server.args!r}")
        time.sleep(REST)
        held = [process.memory_full_info() for process in family(server)]
        pss, rss = ([each.pss / 1e6 for each in held], [each.rss / 1e6 for each in held])
        return Footprint(seconds, cpu, sum(pss), sum(rss), tuple(pss))
    finally:
        stop(server)


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--port", type=int, default=3904)
    parser.add_argument("--rounds", type=int, default=5, help="after the first, which warms the page cache")
    parser.add_argument("--peers", nargs="+", default=[], choices=list(PEERS), metavar="PEER")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the environments of peers are")
    parser.add_argument("options", nargs="*", help="more options for pinnace serve, after --")
    arguments = parser.parse_args()
    body = FORM % arguments.photo.read_bytes()
    names = (PINNACE, *arguments.peers)
    for name in arguments.peers:
        PEERS[name].environment(arguments.cache / name)
    rounds = [{name: measure(name, arguments, body) for name in names} for _ in range(arguments.rounds + 1)]
    first, warm = rounds[0], rounds[1:] or rounds
    print(
        f"{available_cpus()} CPUs, {read_cpu(Sysfs()).model}; medians of {len(warm)} starts, page cache warm"
    )
    print(
        "| server | first 200, s | smallest | largest | very first | CPU, s | PSS, MB | RSS, MB | PSS each |"
    )
    print("|---" * 9 + "|")
    for name in names:
        found = [each[name] for each in warm]
        seconds = [each.seconds for each in found]
        cpu, pss, rss = (
            statistics.median(getattr(each, key) for each in found) for key in ("cpu", "pss", "rss")
        )
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} "
            f"| {first[name].seconds:.2f} | {cpu:.2f} | {pss:.0f} | {rss:.0f} "
            f"| {' + '.join(f'{each:.0f}' for each in found[-1].processes)} |"
        )


if __name__ == "__main__":
    main()
