"""The software bill of materials of a package, in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from pinnace.models.bundle.bundle import Bundle
from pinnace.serving.packaging.locks import Pin

FILE_NAME = "sbom.cdx.json"


def bill_of_materials(
    name: str, pinnace: tuple[str, str], pins: Sequence[Pin], bundles: Sequence[Bundle]
) -> str:
    """The bill as indented JSON: Pinnace, each distribution that is installed, each model and its files.

    Args:
        name: the package's name.
        pinnace: Pinnace's version, and the SHA-256 of its wheel.
        pins: what is installed besides, wherever: CycloneDX has no markers.
        bundles: the models.
    """
    version, digest = pinnace
    components = [
        _library("pinnace", version, [digest], licence="Apache-2.0"),
        *(_library(pin.name, pin.version, [], marker=pin.marker) for pin in pins),
        *(_model(bundle) for bundle in bundles),
    ]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "pinnace", "version": version}]},
            "component": {"type": "application", "bom-ref": "package", "name": name},
        },
        "components": components,
        "dependencies": [{"ref": "package", "dependsOn": [one["bom-ref"] for one in components]}],
    }
    return json.dumps(bill, indent=2) + "\n"


def _library(
    name: str, version: str, hashes: list[str], *, licence: str = "", marker: str = ""
) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    if hashes:
        found["hashes"] = [_sha256(one) for one in hashes]
    if licence:
        found["licenses"] = [{"license": {"id": licence}}]
    if marker:  # two versions of one distribution, for two Pythons, would look like a mistake
        found["properties"] = [{"name": "pinnace:marker", "value": marker}]
    return found


def _model(bundle: Bundle) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{bundle.name}@{bundle.version}",
        "name": bundle.name,
        "version": bundle.version,
        "description": f"made from {bundle.manifest.source}",
        "components": [
            {
                "type": "file",
                "bom-ref": f"model:{bundle.name}/{variant.file}",
                "name": variant.file,
                "hashes": [_sha256(variant.sha256)],
            }
            for variant in bundle.manifest.variants
        ],
    }


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
