"""`pinnace bench --cold`: every row started in fresh processes."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pinnace.latency.cold import page_cache
from pinnace.latency.result import Failure
from pinnace.latency.result_parts import ColdStart, Memory, Start
from pinnace.latency.subjects.eager import EAGER
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.errors import CheckFailed, PinnaceError, from_dict
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions

STARTS = 5


@dataclass(frozen=True)
class Cold:
    """What the cold starts of one variant in one runtime gave, at one batch."""

    variant: str
    runtime: str
    batch: int
    start: ColdStart
    memory: Memory


def measure(
    bundle: Bundle,
    pairs: Sequence[tuple[Variant | None, str | None]],
    options: RuntimeOptions,
    batches: Sequence[int],
    progress: Progress,
) -> tuple[list[Cold], list[Failure]]:
    """Start every pair in fresh processes, one after the other, and take the medians.

    It is to be called before this process has loaded a runtime, whose libraries would stay in memory.

    Args:
        bundle: what is measured.
        pairs: variants, None for the eager network, and the names of runtimes, None for the preferred one.
        options: threads and device.
        batches: images of one call; each is measured.
        progress: called before each start.

    Returns:
        What was found, and the pairs that could not be started.
    """
    found: list[Cold] = []
    failures: list[Failure] = []
    for variant, runtime in pairs:
        for batch in dict.fromkeys(batches):
            try:
                found.append(_measure(bundle, variant, runtime, options, batch, progress))
            except PinnaceError as error:
                name = " ".join(filter(None, (EAGER if variant is None else variant.name, runtime)))
                failures.append(Failure(name, None, f"cold start: {error.message}"))
    return found, failures


def _measure(
    bundle: Bundle,
    variant: Variant | None,
    runtime: str | None,
    options: RuntimeOptions,
    batch: int,
    progress: Progress,
) -> Cold:
    name = EAGER if variant is None else variant.name
    files = _files(bundle, variant, runtime)
    answers = []
    caches = []
    for turn in range(STARTS):
        progress(Event(Stage.MEASURE, name, runtime or "", detail=f"cold start {turn + 1} of {STARTS}"))
        caches.append(page_cache.drop(files))
        order = {
            "bundle": str(bundle.folder),
            "variant": None if variant is None else variant.name,
            "runtime": None if variant is None else runtime,
            "threads": options.threads,
            "device": options.device,
            "batch": batch,
        }
        answers.append(_start(order))
    starts = tuple(Start(**answer["start"]) for answer in answers)
    medians = {key: _median([asdict(each)[key] for each in starts]) for key in asdict(starts[0])}
    memories = [answer["memory"] for answer in answers]
    memory: dict[str, Any] = {key: _whole([each[key] for each in memories]) for key in memories[0]}
    cache = caches[0] if len(set(caches)) == 1 else page_cache.KEPT
    start = ColdStart(cache, **medians, starts=starts)
    return Cold(answers[0]["variant"], answers[0]["runtime"], batch, start, Memory(**memory))


def _start(order: dict[str, Any]) -> dict[str, Any]:
    """One process.

    Raises:
        PinnaceError: what went wrong there, or how it ended.
    """
    spawned = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pinnace.latency.cold.child"],
        input=json.dumps({"spawned": spawned, **order}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not done.stdout:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise CheckFailed(f"the process ended with status {done.returncode}: {last}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise from_dict(answer["error"])
    return answer


def _files(bundle: Bundle, variant: Variant | None, runtime: str | None) -> list[Path]:
    """What a start reads: the variant's files, and those of the runtime's package."""
    files = [bundle.path(file) for file in variant.all_files] if variant is not None else []
    files += [bundle.path(bundle.manifest.golden.file)]
    known = all_runtimes()
    modules = [known[runtime].module] if runtime in known else ["onnxruntime", "openvino", "torch"]
    for module in modules:
        spec = importlib.util.find_spec(module)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            files += [path for path in Path(folder).rglob("*") if path.suffix in (".so", ".py", ".pyc")]
            files += Path(folder).rglob("*.so.*")
    return files


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def _whole(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known else None
