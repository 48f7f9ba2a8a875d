"""Write `docs/latency-report.schema.json` from the types of the latency report.

    python docs/make_report_schema.py

A test compares the file with what this script would write.
"""

from __future__ import annotations

import json
from pathlib import Path

from pinnace.latency.report import json_schema

FILE = Path(__file__).with_name("latency-report.schema.json")


def render() -> str:
    """The schema as text."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
