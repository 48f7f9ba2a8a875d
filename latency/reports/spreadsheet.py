"""A latency report as CSV: a line for each row, without the single latencies."""

from __future__ import annotations

import csv
import io

from pinnace.latency.report import LatencyReport

_ROW = (
    "model",
    "source",
    "variant",
    "runtime",
    "provider",
    "precision",
    "device",
    "threads",
    "batch",
    "scenario",
    "timed",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "mean_ms",
    "min_ms",
    "max_ms",
    "std_ms",
    "cv",
    "throughput",
    "samples",
    "errors",
    "duration_s",
    "loadgen",
    "p999_ms",
    "file_bytes",
)
_COLD = ("answer_ms", "process_ms", "load_ms", "first_ms", "warm_ms", "cache")
_MEMORY = ("peak_bytes", "resident_bytes", "pss_bytes", "before_bytes")
_ENERGY = ("sensor", "covers", "image_j", "image_above_idle_j", "images_a_joule", "idle_w")
_SOAK = ("seconds", "first", "last", "ratio")
COLUMNS = (
    "created",
    "machine",
    *_ROW,
    *(f"cold_{name}" for name in _COLD),
    *_MEMORY,
    *(f"energy_{name}" for name in _ENERGY),
    *(f"soak_{name}" for name in _SOAK),
    "top1",
    "top5",
    "ratio",
    "baseline",
    "warnings",
)


def render(report: LatencyReport) -> str:
    """Lines end as RFC 4180 says."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in report.results:
        codes = " ".join(dict.fromkeys(caveat.code for caveat in (*report.warnings, *row.warnings)))
        writer.writerow(
            [
                cell(value)
                for value in (
                    report.created,
                    report.device.name,
                    *(getattr(row, name) for name in _ROW),
                    *(getattr(row.cold, name, None) for name in _COLD),
                    *(getattr(row.memory, name, None) for name in _MEMORY),
                    *(getattr(next(iter(row.energy), None), name, None) for name in _ENERGY),
                    *(getattr(row.soak, name, None) for name in _SOAK),
                    *(getattr(row.accuracy, name, None) for name in ("top1", "top5")),
                    row.ratio.median if row.ratio else None,
                    row.ratio.baseline if row.ratio else None,
                    codes,
                )
            ]
        )
    return out.getvalue()


def cell(value: object) -> object:
    """A value that a spreadsheet does not take for a formula."""
    # https://owasp.org/www-community/attacks/CSV_Injection
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return "" if value is None else value
