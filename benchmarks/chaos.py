"""What is lost when a worker is killed under load, and when the server is told to stop.

    python benchmarks/chaos.py BUNDLE photo.jpg --kills 5

Starts a server of its own, lets clients ask it without pause, kills a worker with SIGKILL again and again,
then stops the server with SIGTERM. Prints what was lost. Exit status 1 where a kill lost more than was in
flight, a worker did not come back, or SIGTERM lost anything. The load goes to this machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from load import Reply, Target, request_bytes, run, statuses

CLIENTS = 8


class Clients:
    """Clients that ask without pause, until told to stop; each keeps to one connection while it can."""

    def __init__(self, port: int, request: bytes) -> None:
        self.target = Target("127.0.0.1", port)
        self.replies: list[Reply] = []
        self._request = request
        self._stopped = False

    async def run(self) -> None:
        """Ask."""
        await asyncio.gather(*(self._one() for _ in range(CLIENTS)))
        self.target.close()

    async def _one(self) -> None:
        while not self._stopped:
            reply = await self.target.send(self._request)
            self.replies.append(reply)
            if reply.status != 200:
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True


async def ready(port: int, seconds: float = 60) -> float:
    """Seconds until `/readyz` is green; infinite where it is not in time."""
    start = time.perf_counter()
    target = Target("127.0.0.1", port, timeout=5)
    probe = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while time.perf_counter() - start < seconds:
        if (await target.send(probe)).status == 200:
            return time.perf_counter() - start
        await asyncio.sleep(0.05)
    return float("inf")


async def measure(arguments: argparse.Namespace) -> bool:
    """Do it, and say whether all was well."""
    request = request_bytes("/classify", arguments.image.read_bytes(), {"Content-Type": "image/jpeg"})
    settings = {"PINNACE_PORT": str(arguments.port), "PINNACE_WORKERS": str(arguments.workers)}
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(arguments.bundle)]
    server = subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.DEVNULL)
    try:
        print(f"ready after {await ready(arguments.port):.1f} s")
        well = await kills(arguments, server, request)
        return await stop(arguments, server, request) and well
    finally:
        server.terminate()
        server.wait()


async def kills(arguments: argparse.Namespace, server: subprocess.Popen[bytes], request: bytes) -> bool:
    """Kill workers one after the other."""
    well = True
    for number in range(arguments.kills):
        clients = Clients(arguments.port, request)
        task = asyncio.ensure_future(clients.run())
        await asyncio.sleep(2)
        victim = psutil.Process(server.pid).children()[0]
        victim.kill()
        await asyncio.sleep(0.7)  # the parent notices within half a second
        back = await ready(arguments.port)
        await asyncio.sleep(1)
        clients.stop()
        await task
        lost = [reply for reply in clients.replies if reply.status != 200]
        counts = statuses(clients.replies)
        print(f"kill {number + 1}: ready again after {back + 0.7:.1f} s, {counts} (0: lost)")
        well &= len(lost) <= CLIENTS and back < 60
    return well


async def stop(arguments: argparse.Namespace, server: subprocess.Popen[bytes], request: bytes) -> bool:
    """Stop the server while it is asked; whatever it took before must be answered."""
    clients = Clients(arguments.port, request)
    task = asyncio.ensure_future(clients.run())
    await asyncio.sleep(2)
    server.send_signal(signal.SIGTERM)
    signalled = time.perf_counter()
    while server.poll() is None and time.perf_counter() - signalled < 60:
        # Those that ask during the last moments of the drain are refused; nobody asks after it.
        if time.perf_counter() - signalled > arguments.drain - 0.2:
            clients.stop()
        await asyncio.sleep(0.02)
    await task
    ended = time.perf_counter() - signalled
    print(f"SIGTERM: ended after {ended:.1f} s, {statuses(clients.replies)} (0: lost)")
    return all(reply.status in (200, 503) for reply in clients.replies) and server.returncode == 0


def main() -> None:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--port", type=int, default=3900)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--drain", type=float, default=1.0, help="the server's PINNACE_DRAIN")
    sys.exit(0 if run(measure(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
