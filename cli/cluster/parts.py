"""A part: the answers to one shard, a row for each image, as Parquet or JSON Lines."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pinnace.models import file_stores
from pinnace.models.answer import Answer, Embedding
from pinnace.models.errors import PinnaceError

Rows = Sequence[tuple[str, Answer | Embedding | PinnaceError]]

_COLUMNS = ("path", "model", "version", "variant", "runtime", "error_code", "error")


def encode(rows: Rows, format: str, use: str) -> bytes:
    """A file of rows: `path`, the answer, `model`, `version`, `variant`, `runtime`, `error_code` and `error`.

    The answer is `predictions`, the classes with the highest scores, or `embedding`, the vector. Of an image
    that cannot be read, everything but the path and the error is null.
    """
    data = [row(path, outcome) for path, outcome in rows]
    if format == "jsonl":
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in data).encode("utf-8", "replace")
    import pyarrow
    import pyarrow.parquet

    prediction = pyarrow.struct(
        [
            ("label", pyarrow.string()),
            ("index", pyarrow.int32()),
            ("probability", pyarrow.float64()),
            ("above_threshold", pyarrow.bool_()),
        ]
    )
    name, item = ("predictions", prediction) if use == "classify" else ("embedding", pyarrow.float32())
    answer = pyarrow.list_(item)
    schema = pyarrow.schema(
        [("path", pyarrow.string()), (name, answer), *((c, pyarrow.string()) for c in _COLUMNS[1:])]
    )
    labels, failed = count(data)
    table = pyarrow.Table.from_pylist(data, schema.with_metadata({"summary": json.dumps([labels, failed])}))
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def row(path: str, outcome: Answer | Embedding | PinnaceError) -> dict[str, Any]:
    """A row as plain data, without what is null."""
    name = os.fsencode(path).decode("utf-8", "replace")
    if isinstance(outcome, PinnaceError):
        message = " ".join(outcome.message.split())
        return {
            "path": name,
            "error_code": outcome.code,
            "error": message.encode("utf-8", "replace").decode(),
        }
    made_by = {key: getattr(outcome, key) for key in ("model", "version", "variant", "runtime")}
    if isinstance(outcome, Embedding):
        return {"path": name, "embedding": np.asarray(outcome.embedding, np.float32).tolist(), **made_by}
    predictions = [
        {"label": one.label, "index": one.index, "probability": one.probability}
        | ({} if one.above_threshold is None else {"above_threshold": one.above_threshold})
        for one in outcome.predictions
    ]
    return {"path": name, "predictions": predictions, **made_by}


def count(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, int], int]:
    """How many images have which label, and how many could not be read."""
    labels: Counter[str] = Counter()
    failed = 0
    for row in rows:
        failed += row.get("error") is not None
        predictions = row.get("predictions") or []
        if predictions and predictions[0].get("above_threshold") is None:
            predictions = predictions[:1]
        labels.update(one["label"] for one in predictions if one.get("above_threshold") is not False)
    return dict(labels), failed


def summary(place: str, format: str, images: int) -> tuple[dict[str, int], int] | None:
    """What `count` says of a part that an earlier run wrote, or None where the part is not whole.

    Of Parquet only the end of the file is read.

    Args:
        place: the part.
        format: its format.
        images: how many rows it has to have.

    Raises:
        OSError: it cannot be read.
    """
    import pyarrow.parquet

    try:
        if format == "jsonl":
            rows = [json.loads(line) for line in file_stores.read(place).decode().splitlines()]
            return count(rows) if len(rows) == images else None
        store, path = file_stores.open_store(place)
        with store.open_input_file(path) as file:
            facts = pyarrow.parquet.read_metadata(file)
        labels, failed = json.loads(facts.metadata[b"summary"])
        return (labels, failed) if facts.num_rows == images else None
    except (ValueError, TypeError, KeyError):  # as after the power failed
        return None
