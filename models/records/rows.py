"""A row of a record, and rows as Parquet."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

import numpy as np

from pinnace.models.answer import Prediction, Timing
from pinnace.models.errors import MissingDependency
from pinnace.models.install import install_line
from pinnace.models.records.image_facts import ImageFacts

MOST_PREDICTIONS = 5


@dataclass(frozen=True)
class RecordRow:
    """One answer.

    Attributes:
        time: when it was given, in seconds since 1970 (UTC).
        request_id: of the request; the images of a batch share it.
        model: the model's name.
        version: of its bundle.
        variant: what answered.
        runtime: what ran it.
        sha256: of the image's bytes.
        facts: what the image is like.
        predictions: the first five classes that were answered, most probable first; none of an embedding.
        timing_ms: where the time went.
    """

    time: float
    request_id: str
    model: str
    version: str
    variant: str
    runtime: str
    sha256: str
    facts: ImageFacts
    predictions: tuple[Prediction, ...]
    timing_ms: Timing

    def to_json(self) -> bytes:
        """The row as one line of JSON, in the columns of `schema`."""
        facts, timing = self.facts, self.timing_ms
        moment = datetime.fromtimestamp(self.time, timezone.utc).replace(tzinfo=None).isoformat()
        predictions = ",".join(
            f'{{"label":{_quoted(one.label)},"index":{one.index},"probability":{_number(one.probability)}}}'
            for one in self.predictions[:MOST_PREDICTIONS]
        )
        # By hand: an encoder takes three times as long, for each answer.
        return (
            f'{{"time":"{moment}Z","request_id":{_quoted(self.request_id)},"model":{_quoted(self.model)},'
            f'"version":{_quoted(self.version)},"variant":{_quoted(self.variant)},'
            f'"runtime":{_quoted(self.runtime)},"sha256":"{self.sha256}","format":{_quoted(facts.format)},'
            f'"width":{facts.width},"height":{facts.height},"bytes":{facts.bytes},'
            f'"brightness":{_number(facts.brightness)},"predictions":[{predictions}],'
            f'"decode_ms":{timing.decode:.4f},"preprocess_ms":{timing.preprocess:.4f},'
            f'"queue_ms":{timing.queue:.4f},"infer_ms":{timing.infer:.4f},"total_ms":{timing.total:.4f}}}\n'
        ).encode()


def require_pyarrow() -> None:
    """Refuse to go on without what writes and reads Parquet.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise MissingDependency(
            "a record needs the package pyarrow, which is not installed", hint=install_line("parquet")
        ) from None


@lru_cache(maxsize=1)
def schema() -> Any:
    """The `pyarrow.Schema` of rows."""
    import pyarrow as pa

    prediction = pa.struct([("label", pa.string()), ("index", pa.int32()), ("probability", pa.float64())])
    text = ("request_id", "model", "version", "variant", "runtime", "sha256", "format")
    steps = ("decode_ms", "preprocess_ms", "queue_ms", "infer_ms", "total_ms")
    return pa.schema(
        [
            ("time", pa.timestamp("us", tz="UTC")),
            *((name, pa.string()) for name in text),
            *((name, pa.int32()) for name in ("width", "height")),
            ("bytes", pa.int64()),
            ("brightness", pa.float32()),
            ("predictions", pa.list_(prediction)),
            *((name, pa.float32()) for name in steps),
        ]
    )


def encode_rows(lines: Sequence[bytes]) -> bytes:
    """Rows, as `RecordRow.to_json` gives them, as a file of Parquet.

    Arrow makes columns of JSON without Python's lock; of Python's objects it does not, and imports pandas.
    """
    import pyarrow as pa
    import pyarrow.json

    options = pyarrow.json.ParseOptions(explicit_schema=schema(), unexpected_field_behavior="error")
    read = pyarrow.json.ReadOptions(use_threads=False)
    text = pa.BufferReader(b"".join(lines))
    return _encode(pyarrow.json.read_json(text, read, options), "zstd")


def encode_images(images: Mapping[str, bytes]) -> bytes:
    """Images by their SHA-256 as a file of Parquet with the columns `sha256` and `image`: the bytes as they
    came in.
    """
    import pyarrow as pa

    names = _column([name.encode() for name in images], pa.large_string())
    return _encode(
        pa.Table.from_arrays([names, _column(list(images.values()), pa.large_binary())], ["sha256", "image"]),
        "none",
    )


def _column(values: Sequence[bytes], kind: Any) -> Any:
    import pyarrow as pa

    ends = np.cumsum([0, *map(len, values)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def _encode(table: Any, compression: str) -> bytes:
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression=compression)
    return buffer.getvalue()


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else "null"
