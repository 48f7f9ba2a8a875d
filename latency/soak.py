"""What becomes of a row in the long run: its throughput over time, and when the machine began to throttle."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Callable, Sequence

from pinnace.latency.caveats import DROPPED, working_gpu_clock
from pinnace.latency.device.types import DeviceSample
from pinnace.latency.result import Result
from pinnace.latency.result_parts import Caveat, Soak, SoakWindow, ThrottlePoint

WINDOWS = 60
LEAST_WINDOW_S = 1.0
# The first minute stands against the last; of a short soak, its first fifth against its last.
SPAN_S = 60.0
SPAN_SHARE = 0.2
# Below this share of what it was at first, a reader should know.
LASTING = 0.95


def soak_of(row: Result, samples: Sequence[DeviceSample]) -> Soak:
    """Throughput by windows, the first span against the last, and from when on clocks were held down.

    Args:
        row: the row, with every latency.
        samples: the machine meanwhile, in seconds since the row's first query.
    """
    starts, taken = row.latencies.start_s, row.latencies.latency_ms
    first_start = starts[0]
    ends = [start + ms / 1000 - first_start for start, ms in zip(starts, taken, strict=True)]
    begins = [start - first_start for start in starts]
    end = max(ends)
    images = row.throughput * row.duration_s / row.samples

    def rate(begin: float, until: float) -> tuple[float, float] | None:
        """Images a second, and the median latency, of the queries that began between two moments."""
        low, high = bisect.bisect_left(begins, begin), bisect.bisect_left(begins, until)
        if low == high:
            return None
        seconds = max(ends[low:high]) - begins[low]
        return images * (high - low) / seconds, statistics.median(taken[low:high])

    length = max(LEAST_WINDOW_S, end / WINDOWS)
    windows = []
    for place in range(max(1, int(end / length))):
        begin = place * length
        if (found := rate(begin, begin + length)) is not None:
            inside = [each for each in samples if begin <= each.seconds < begin + length]
            windows.append(
                SoakWindow(
                    start_s=round(begin, 3),
                    throughput=round(found[0], 4),
                    p50_ms=found[1],
                    cpu_mhz=_mean([each.cpu_mhz for each in inside]),
                    gpu_mhz=_mean([each.gpu_clock_mhz for each in inside]),
                    hottest_c=max(
                        (value for each in inside for value in each.temperatures_c.values()), default=None
                    ),
                )
            )
    span = min(SPAN_S, SPAN_SHARE * end)
    first, last = rate(0.0, span), rate(end - span, end)
    before = first[0] if first else row.throughput
    after = last[0] if last else row.throughput
    return Soak(
        seconds=round(end, 3),
        span_s=round(span, 3),
        first=round(before, 4),
        last=round(after, 4),
        ratio=round(after / before, 4),
        throttling=throttle_point(samples),
        windows=tuple(windows),
    )


def throttle_point(samples: Sequence[DeviceSample]) -> ThrottlePoint | None:
    """The first moment at which the system says that it holds a clock down, or a clock has fallen and stays.

    Args:
        samples: in order; those before second 0 are of the warm-up.
    """
    found = []
    for sample in samples:
        if sample.throttle and sample.seconds >= 0:
            found.append(ThrottlePoint(sample.seconds, f"the system reports {', '.join(sample.throttle)}"))
            break
    clocks: tuple[tuple[str, Callable[[DeviceSample], float | None]], ...] = (
        ("CPU", lambda sample: sample.cpu_mhz),
        ("GPU", working_gpu_clock),
    )
    for what, clock in clocks:
        known = [(sample.seconds, value) for sample in samples if (value := clock(sample))]
        highest = 0.0
        for place, (seconds, value) in enumerate(known):
            highest = max(highest, value)
            following = [later for _, later in known[place : place + 3]]
            if seconds >= 0 and max(following) < DROPPED * highest:
                words = f"the {what}'s clock fell from {highest:.0f} to {min(following):.0f} MHz"
                found.append(ThrottlePoint(seconds, words))
                break
    return min(found, key=lambda point: point.seconds, default=None)


def caveats_of(soak: Soak) -> tuple[Caveat, ...]:
    """The warning that the throughput does not last."""
    if soak.ratio >= LASTING:
        return ()
    span = "minute" if soak.span_s == SPAN_S else f"{soak.span_s:.0f} s"
    return (
        Caveat(
            "sustained",
            f"the last {span} ran at {soak.ratio:.0%} of the throughput of the first {span}: "
            "what a short bench says does not last here",
        ),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
