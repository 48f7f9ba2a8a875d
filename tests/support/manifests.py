"""The Kubernetes objects that Pinnace comes with or writes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from pinnace.models.bundle.bundle import Bundle
from pinnace.serving.packaging.kserve import build_kserve
from support.tiny_bundle import build_bundle

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples" / "kubernetes"
SCHEMAS = REPOSITORY / "tests" / "serving" / "packaging" / "crd_schemas.json"


def read(path: Path) -> list[dict[str, Any]]:
    """The objects in a file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def custom_objects() -> list[dict[str, Any]]:
    """Those of which Kubernetes itself knows nothing."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(build_bundle(Path(folder) / "tiny.bundle"))
        made = build_kserve(bundle, folder=Path(folder) / "kserve")
        found = [one for path in sorted(made.folder.glob("*.yaml")) for one in read(path)]
    found += [one for path in sorted(EXAMPLES.rglob("*.yaml")) for one in read(path)]
    known = ("serving.kserve.io/", "monitoring.coreos.com/", "keda.sh/")
    return [one for one in found if str(one.get("apiVersion")).startswith(known)]


def schemas() -> dict[str, Any]:
    """By `apiVersion kind`, what the CRDs say of the fields that are used."""
    found: dict[str, Any] = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    return found
