"""The memory of this process, as the system counts it."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")


def usage() -> dict[str, int | None]:
    """Bytes of this process, by name.

    `peak_bytes` is the most that was ever in memory; `resident_bytes` what is there now, shared pages whole;
    `pss_bytes` the same with a page that n processes share counted as one n-th, or None where the system does
    not say.
    """
    status = _text(_STATUS)
    peak, resident = _field(status, "VmHWM"), _field(status, "VmRSS")
    if peak is None or resident is None:  # a Mac, where the unit is bytes
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        resident = int(psutil.Process().memory_info().rss)
    return {
        # The kernel adds up the pages of each thread now and then, so that the peak may be a few behind.
        "peak_bytes": max(peak, resident),
        "resident_bytes": resident,
        "pss_bytes": _field(_text(_ROLLUP), "Pss"),
    }


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _field(text: str, name: str) -> int | None:
    """A field in kB of one of the kernel's files, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
