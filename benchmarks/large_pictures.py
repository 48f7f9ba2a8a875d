"""The memory of a server while a hundred pictures of 100 megapixels come at once and clients go away.

    python benchmarks/large_pictures.py BUNDLE

Starts a server of its own with two workers and the settings that it has by default. A hundred clients send a
picture that is allowed; every second one is gone once it has sent it. That is done several times over, while
the resident memory of each worker is read every 20 ms. Prints the statuses, and what the workers had at rest,
at most and at the end. Exit status 1 where a worker passed the bound that docs/serving.md states, died or
kept more than a tenth of it, where anything but 200, 503 (full) and 504 (late) was answered, or where a small
picture is not answered afterwards.
The load goes to this machine only; the two workers may take 2.6 GB on top of what they have at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from chaos import ready
from load import Reply, Target, request_bytes, run, statuses

PICTURES = 100
EDGE = 10_000  # 100,000,000 pixels, as many as PINNACE_MAX_PIXELS allows by default
WORKERS = 2
DECODED, BUFFERED = (
    1_000_000_000,
    300_000_000,
)  # the defaults of PINNACE_MAX_DECODED_BYTES, ..._BUFFERED_BYTES
BESIDE = 100_000_000  # the model at work, threads, what the allocator keeps


class Memory:
    """The resident memory of processes, read until it is stopped.

    Attributes:
        most: bytes, by process.
    """

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.most = dict.fromkeys(processes, 0)
        self._stopped = False

    def now(self) -> list[int]:
        """Bytes of each process; 0 of one that has ended."""
        return [process.memory_info().rss if process.is_running() else 0 for process in self.most]

    async def watch(self) -> None:
        """Read."""
        while not self._stopped:
            for process, size in zip(self.most, self.now(), strict=True):
                self.most[process] = max(self.most[process], size)
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True


def pictures() -> list[bytes]:
    """A PNG and a JPEG as requests."""
    requests = []
    for format in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.new("RGB", (EDGE, EDGE), (250, 10, 20)).save(buffer, format)
        requests.append(request_bytes("/classify", buffer.getvalue(), {"Connection": "close"}))
    return requests


async def leave(port: int, request: bytes) -> None:
    """Send a picture, and go away before it is answered."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()


async def at_once(port: int, requests: list[bytes]) -> list[Reply]:
    """A hundred clients; the answers to those that stay."""
    target = Target("127.0.0.1", port, timeout=120)
    stay = [target.send(requests[number // 2 % len(requests)]) for number in range(0, PICTURES, 2)]
    gone = [leave(port, requests[number // 2 % len(requests)]) for number in range(1, PICTURES, 2)]
    replies = await asyncio.gather(*stay, *gone, return_exceptions=True)
    return [reply for reply in replies if isinstance(reply, Reply)]


async def measure(arguments: argparse.Namespace) -> bool:
    """Do it, and say whether all was well."""
    requests = pictures()
    settings = {"PINNACE_PORT": str(arguments.port), "PINNACE_WORKERS": str(WORKERS)}
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(arguments.bundle)]
    server = subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.DEVNULL)
    try:
        await ready(arguments.port)
        workers = psutil.Process(server.pid).children()
        memory = Memory(workers)
        rest = memory.now()
        task = asyncio.ensure_future(memory.watch())
        replies: list[Reply] = []
        for _ in range(arguments.rounds):
            replies += await at_once(arguments.port, requests)
        await asyncio.sleep(2)
        memory.stop()
        await task
        small = io.BytesIO()
        Image.new("RGB", (64, 64)).save(small, "PNG")
        after = await Target("127.0.0.1", arguments.port).send(request_bytes("/classify", small.getvalue()))
        print(
            f"{statuses(replies)} of those that stayed (0: none); a small picture afterwards: {after.status}"
        )
        most = [size - before for size, before in zip(memory.most.values(), rest, strict=True)]
        kept = [size - before for size, before in zip(memory.now(), rest, strict=True)]
        bound = DECODED + BUFFERED + BESIDE
        for before, above, left in zip(rest, most, kept, strict=True):
            print(
                f"a worker: {before / 1e6:.0f} MB at rest, at most {above / 1e6:.0f} MB more "
                f"(bound {bound / 1e6:.0f}), {left / 1e6:.0f} MB more at the end"
            )
        alive = all(process.is_running() for process in workers)
        answered = Counter(reply.status for reply in replies)
        return (
            alive
            and max(most) <= bound
            and max(kept) <= bound / 10
            and set(answered) <= {200, 503, 504}
            and answered[200] > 0
            and after.status == 200
        )
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--port", type=int, default=3900)
    parser.add_argument("--rounds", type=int, default=3)
    sys.exit(0 if run(measure(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
