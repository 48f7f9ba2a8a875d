"""What exporters write into a file beside the network: class names, and for Ultralytics the image size."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from pinnace.models.labels import KEYS
from pinnace.models.loaders.facts import ULTRALYTICS, Facts, read_facts, ultralytics_preprocess

# Names in one text: one on each line, or with commas between.
_NAMES = re.compile(r"[\r\n]+|\s*,\s*")
CONFIG_FILE = "config.txt"  # in TorchScript of Ultralytics


def read_metadata(texts: Mapping[str, str]) -> Facts:
    """Read texts by name, as ONNX files have them; a text may be JSON or a Python literal."""
    values = {name: _value(text) for name, text in texts.items()}
    for name in KEYS:
        if isinstance(value := values.get(name), str) and len(names := _NAMES.split(value.strip())) > 1:
            values[name] = [each.strip() for each in names]
    facts = read_facts(values)
    if values.get("task") != "classify" or "Ultralytics" not in str(values.get("author")):
        return Facts(labels=facts.labels, labels_from=facts.labels_from)
    return Facts(
        trainer=ULTRALYTICS,
        labels=facts.labels,
        labels_from=facts.labels_from,
        preprocess=ultralytics_preprocess(facts.size[0] if facts.size else 224),
    )


def read_config(text: str) -> Facts:
    """Read Ultralytics' metadata in TorchScript, which are one JSON document."""
    try:
        data = json.loads(text)
    except ValueError:
        return Facts()
    known = data if isinstance(data, dict) else {}
    return read_metadata({str(name): _text(value) for name, value in known.items()})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return text
