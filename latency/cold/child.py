"""The process of one cold start: it loads a variant, calls it, and says how long that took and its memory.

What to do comes as one JSON object on standard input, and what was found goes as one to standard output.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import time
from typing import Any

from pinnace.latency.cold.process_memory import usage
from pinnace.latency.subjects.runtime import RuntimeSubject
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import PinnaceError
from pinnace.models.runtimes.base import RuntimeOptions

WARM_CALLS = 20


def start(
    spawned: float,
    bundle: str,
    variant: str | None,
    runtime: str | None,
    threads: int,
    device: str | None,
    batch: int,
) -> dict[str, Any]:
    """Load and call; times in milliseconds, memory in bytes.

    Args:
        spawned: `time.monotonic()` of the parent just before it started this process.
        bundle: its folder.
        variant: a name, or None for the eager network.
        runtime: a name, or None for the preferred one.
        threads: of one call.
        device: `cpu`, `cuda`, `gpu`, `npu` or `auto`, or None for the runtime's own.
        batch: images of one call.
    """
    before = usage()["resident_bytes"]
    began = time.monotonic()
    opened = Bundle.open(bundle)
    subject = RuntimeSubject(
        opened,
        None if variant is None else opened.variant(variant),
        runtime,
        RuntimeOptions(threads, device),
        batch=batch,
    )
    indices = [0] * batch
    moments = [began, time.monotonic()]
    for _ in range(1 + WARM_CALLS):
        subject.call(indices)
        moments.append(time.monotonic())
    taken = [1000 * (after - earlier) for earlier, after in itertools.pairwise(moments)]
    return {
        "variant": subject.info.variant,
        "runtime": subject.info.runtime,
        "start": {
            "process_ms": round(1000 * (began - spawned), 3),
            "load_ms": round(taken[0], 3),
            "first_ms": round(taken[1], 3),
            "warm_ms": round(statistics.median(taken[2:]), 3),
            "answer_ms": round(1000 * (moments[2] - spawned), 3),
        },
        "memory": {**usage(), "before_bytes": before},
    }


def main() -> None:
    """Keep standard output for the answer: a runtime may print what it likes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        found: dict[str, Any] = start(**json.load(sys.stdin))
    except PinnaceError as error:
        found = {"error": error.to_dict()}
    print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
