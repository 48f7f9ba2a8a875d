"""Write `docs/manifest.schema.json` from the types of the manifest.

    python docs/make_manifest_schema.py

A test compares the file with what this script would write.
"""

from __future__ import annotations

import json
from pathlib import Path

from pinnace.models.bundle.manifest import json_schema

FILE = Path(__file__).with_name("manifest.schema.json")


def render() -> str:
    """The schema as text."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
