"""How much a server still does when far more is asked of it than it can do.

    python benchmarks/overload.py --port 3000 photo.jpg

Measures the peak with 16 clients that wait for their answers, sends several times that rate, open loop,
measures the peak again, and prints the share of it that was still answered, how long those requests took, and
how fast the others were refused. Exit status 1 where a bound is not kept. The load goes to this machine only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from load import Target, closed_loop, open_loop, percentile, request_bytes, run, statuses


async def measure(arguments: argparse.Namespace) -> bool:
    """Print what was measured; whether every bound is kept."""
    request = request_bytes("/classify", arguments.image.read_bytes(), {"Content-Type": "image/jpeg"})
    target = Target("127.0.0.1", arguments.port)
    await closed_loop(target, lambda: request, 16, 2)

    async def peak() -> float:
        answers = await closed_loop(target, lambda: request, 16, arguments.peak_seconds)
        good = [reply.seconds for reply in answers if reply.status == 200]
        rate = len(good) / arguments.peak_seconds
        print(f"peak: {rate:.1f} images/s, p99 {1000 * percentile(good, 99):.0f} ms")
        return rate

    before = await peak()
    replies = await open_loop(target, lambda: request, arguments.times * before, arguments.seconds)
    capacity = (before + await peak()) / 2
    target.close()
    good = [reply.seconds for reply in replies if reply.status == 200]
    refused = [reply.seconds for reply in replies if reply.status in (429, 503)]
    goodput = len(good) / arguments.seconds / capacity
    p99 = percentile(good, 99)
    median = 1000 * percentile(refused, 50)
    hinted = all("retry-after" in reply.headers for reply in replies if reply.status in (429, 503))
    print(f"sent: {len(replies)} at {arguments.times:g} x the first peak for {arguments.seconds:g} s")
    print(f"statuses: {statuses(replies)} (0: no answer)")
    print(f"goodput: {goodput:.3f} of the mean peak")
    print(f"answered: p50 {percentile(good, 50):.2f} s, p99 {p99:.2f} s (deadline {arguments.deadline:g} s)")
    print(f"refused: p50 {median:.1f} ms, p99 {1000 * percentile(refused, 99):.1f} ms, Retry-After: {hinted}")
    return goodput > 0.85 and p99 <= arguments.deadline and median < 10 and hinted


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--times", type=float, default=5, help="how many times the peak is asked for")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--peak-seconds", type=float, default=10)
    parser.add_argument("--deadline", type=float, default=30, help="the server's PINNACE_TIMEOUT")
    sys.exit(0 if run(measure(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
