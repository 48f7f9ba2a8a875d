"""The cold starts and the memory of rows, as cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.numbers import megabytes, number
from pinnace.latency.result import Result

HEAD = (
    "",
    "to first answer, ms",
    "process, ms",
    "load, ms",
    "first call, ms",
    "warm call, ms",
    "file, MB",
    "peak, MB",
    "resident, MB",
    "PSS, MB",
)


def cells(rows: Sequence[Result]) -> list[list[str]]:
    """A line for each row that was started in fresh processes; once where several scenarios share it."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        if row.cold is None or row.memory is None:
            continue
        cold, memory = row.cold, row.memory
        name = row.row if row.batch == 1 else f"{row.row}, batch {row.batch}"
        times = (cold.answer_ms, cold.process_ms, cold.load_ms, cold.first_ms, cold.warm_ms)
        sizes = (row.file_bytes, memory.peak_bytes, memory.resident_bytes, memory.pss_bytes)
        lines[name] = [name, *map(number, times), *map(megabytes, sizes)]
    return list(lines.values())


def method(rows: Sequence[Result]) -> str:
    """How the starts were made, in one or two sentences; empty where there were none."""
    starts = [row.cold for row in rows if row.cold is not None]
    if not starts:
        return ""
    caches = " / ".join(dict.fromkeys(each.cache for each in starts))
    return (
        f"Medians of {max(len(each.starts) for each in starts)} starts, each in a process of its own. "
        f"Page cache before each: {caches}. Memory is that of the process after its calls: the most it ever "
        "had (VmHWM), what it has now with shared pages whole (VmRSS) and in shares (PSS)."
    )
