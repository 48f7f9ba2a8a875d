"""What a bench reports: one `LatencyReport`, as JSON with a published schema.

`docs/latency-report.schema.json` is made from these types by `docs/make_report_schema.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pinnace.latency.device.types import DeviceInfo
from pinnace.latency.result import Failure, Result
from pinnace.latency.result_parts import Caveat, Samples
from pinnace.latency.settings import BenchSettings
from pinnace.models.errors import UsageError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LatencyReport:
    """The result of one bench.

    Attributes:
        schema_version: of this layout; readers refuse a newer one.
        created: ISO 8601 time in UTC, when it began.
        pinnace: version that measured.
        device: the machine that ran the model, or the client where a server was measured.
        settings: what was asked for.
        results: the rows.
        warnings: about all of them.
        failures: rows that have no figures.
        rows: names of a suite's networks in their order, with what is to be known of each, which may be "".
    """

    schema_version: int
    created: str
    pinnace: str
    device: DeviceInfo
    settings: BenchSettings
    results: tuple[Result, ...]
    warnings: tuple[Caveat, ...] = ()
    failures: tuple[Failure, ...] = ()
    rows: dict[str, str] = field(default_factory=dict)

    def to_json(self, *, samples: bool = True) -> bytes:
        """The report as JSON.

        Args:
            samples: whether every single latency is in it.
        """
        report = self
        if not samples:
            rows = tuple(replace(result, latencies=Samples()) for result in self.results)
            report = replace(self, results=rows)
        return _REPORT.dump_json(report) + b"\n"


_REPORT: TypeAdapter[LatencyReport] = TypeAdapter(LatencyReport)


def read(path: Path) -> LatencyReport:
    """Read a report.

    Raises:
        UsageError: the file is missing, damaged, not a report, or of a newer version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, name: str) -> LatencyReport:
    """Read a report from bytes; `name` says in errors where they came from.

    Raises:
        UsageError: they are damaged, not a report, or of a newer version.
    """
    from pydantic_core import from_json

    try:
        raw: Any = from_json(data)
    except ValueError:
        raise UsageError(f"{name} is not a latency report: it is not JSON, or it is cut off") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise UsageError(f"{name} is not a latency report: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{name} was written by a newer pinnace",
            expected=f"schema_version {SCHEMA_VERSION} or lower",
            got=str(version),
            hint="read it with the version that wrote it, or a newer one",
        )
    try:
        return _REPORT.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{name} is damaged: {place}: {first['msg'].lower()}") from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    # The class was renamed after the schema was published; its definition keeps the name.
    schema = json.loads(json.dumps(_REPORT.json_schema()).replace("BenchSettings", "Settings"))
    schema["$defs"] = dict(sorted(schema["$defs"].items()))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Pinnace latency report",
    }
