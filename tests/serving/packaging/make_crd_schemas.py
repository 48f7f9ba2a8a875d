"""Write `crd_schemas.json`: what the CRDs of KServe, the Prometheus operator and KEDA say of our fields.

    python tests/serving/packaging/make_crd_schemas.py CRD.yaml...

The CRDs are those of their projects (Apache 2.0), far too large to keep: of what is not used only the name
of the field stays, so that one that is misspelt is found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("crd_schemas.json")
KEPT = (
    "type",
    "enum",
    "required",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
)


def pruned(schema: dict[str, Any], used: list[Any]) -> dict[str, Any]:
    """A schema with only the parts that some of these values reach."""
    found = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if "properties" in schema:
        values = [value for value in used if isinstance(value, dict)]
        found["properties"] = {
            name: pruned(inside, reached)
            if (reached := [one[name] for one in values if name in one])
            else True
            for name, inside in schema["properties"].items()
        }
        found["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        values = [inside for value in used if isinstance(value, dict) for inside in value.values()]
        found["additionalProperties"] = pruned(schema["additionalProperties"], values)
    if "items" in schema:
        items = [one for value in used if isinstance(value, list) for one in value]
        found["items"] = pruned(schema["items"], items) if items else True
    return found


def main(files: list[str], objects: list[dict[str, Any]]) -> None:
    written = {}
    for file in files:
        document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        kind, group = document["spec"]["names"]["kind"], document["spec"]["group"]
        for version in document["spec"]["versions"]:
            api = f"{group}/{version['name']}"
            used = [one for one in objects if one["kind"] == kind and one["apiVersion"] == api]
            if used:
                schema = version["schema"]["openAPIV3Schema"]
                schema["properties"]["metadata"] = {"type": "object"}
                written[f"{api} {kind}"] = pruned(schema, used)
    FILE.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from support.manifests import custom_objects

    main(sys.argv[1:], custom_objects())
