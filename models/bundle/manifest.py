"""The manifest of a bundle: what `manifest.json` says, and its schema version."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pinnace.models.bundle.measurements import Accuracy, Parity, Proof, Quantisation, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.files import read_regular, similar_path
from pinnace.models.image.preprocess import Preprocess

# Version 2 says what the outputs mean; see `pinnace.models.bundle.outputs.of_an_older_bundle` for version 1.
SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, SCHEMA_VERSION)
FILE_NAME = "manifest.json"

_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


@dataclass(frozen=True)
class EngineInfo:
    """What a TensorRT engine is tied to; it runs nowhere else.

    Attributes:
        source: the ONNX variant that it was built from.
        builder: `tensorrt` or `tensorrt_rtx`.
        version: the builder's version.
        platform: operating system and processor, such as `Linux x86_64`.
        batch: smallest and largest batch.
        gpu: the GPU's name, or None where it was built on a machine without one.
        compute_capability: the GPU's, such as `8.7`, or None.
        driver: version of the GPU's driver, or None.
    """

    source: str
    builder: str
    version: str
    platform: str
    batch: tuple[_Count, _Count]
    gpu: str | None = None
    compute_capability: str | None = None
    driver: str | None = None


def weights_file(file: str) -> str:
    """The file beside an ONNX file that has its weights, where that cannot hold them (external data)."""
    return f"{file}.data"


@dataclass(frozen=True)
class Variant:
    """One executable file of a bundle: a format in a precision.

    Attributes:
        name: `FORMAT-PRECISION`.
        format: `onnx`, `torchscript`, ...
        precision: `fp32`, ...
        file: path inside the bundle.
        sha256: hash of the file.
        bytes: its size, with that of its weights.
        parity: what was measured where it was made, or None where nothing there could run it.
        tolerance: what it has to keep on any device.
        engine: what it is tied to, if it is a TensorRT engine.
        activations: of an int8 variant, what flows between its nodes: `uint8` with a zero point, for CPUs,
            `int8` with zero point 0, for TensorRT, or, of a file that others quantised, `int8-asymmetric`
            where a zero point is not 0; None where these are numbers in floating point.
        proof: what was measured on photographs where it was made.
        exporter: of an ONNX file that was written from the network, which of torch's exporters wrote it:
            `dynamo`, `dynamo-math-attention` or `torchscript`.
        weights: of an ONNX file that cannot hold its weights, the file beside it that has them; its hash
            stands in `Manifest.files`.
        quantisation: of an int8 variant, how it was made.
        accuracy: how often it was right on the labelled images of the export (`--images`); None where there
            were none, and then nothing here says how often it is right.
        unproved_in: the names of runtimes that answer otherwise than the others where it was made, each with
            what they were off; nothing runs the variant in them.
    """

    name: str
    format: str
    precision: str
    file: str
    sha256: str
    bytes: Annotated[int, Field(ge=0, lt=2**63)]
    parity: Parity | None
    tolerance: Tolerance
    engine: EngineInfo | None = None
    activations: str | None = None
    proof: Proof | None = None
    exporter: str | None = None
    weights: str | None = None
    quantisation: Quantisation | None = None
    accuracy: Accuracy | None = None
    unproved_in: dict[str, str] = field(default_factory=dict)

    @property
    def all_files(self) -> tuple[str, ...]:
        """The variant's files: what runtimes open, and what lies beside it."""
        return (self.file,) if self.weights is None else (self.file, self.weights)


@dataclass(frozen=True)
class Photograph:
    """A golden photograph and the sample of the golden inputs that the preprocessing makes of it."""

    file: str
    sample: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Golden:
    """Where the golden data stand.

    Attributes:
        file: an `.npz` with `input:NAME` and `output:NAME` arrays, first dimension the sample.
        samples: how many samples it holds.
        photographs: image files in the bundle, each with its sample.
        float32_noise: for each sample, how far the eager model in float32 is off from itself in float64, as
            `Parity.max_rel` counts it; empty where that is not known.
    """

    file: str
    samples: _Count
    photographs: tuple[Photograph, ...] = ()
    float32_noise: tuple[_Share, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything a bundle says of itself.

    Attributes:
        schema_version: version of this layout; older ones are read, newer ones refused.
        name: the model's name in answers and URLs.
        source: the string that `Source.parse` reads.
        preprocess: the image preprocessing, or None for a model that takes no image.
        labels: file with one class name a line, or None.
        signature: inputs and outputs, the same for every variant.
        variants: what can be run.
        golden: inputs and the eager model's outputs.
        files: SHA-256 of every other file in the bundle, by relative path.
        tools: versions of the tools that wrote it.
        created: ISO 8601 time in UTC.
        notes: sentences the reader of the bundle should know.
        batch: smallest and largest batch that a caller will send; engines are built for this range.
        runtimes: names of runtimes in the target's order of preference; the others follow.
        outputs: what the answer means; None in manifests of schema version 1. Ask `Bundle.outputs`.
    """

    schema_version: int
    name: str
    source: str
    preprocess: Preprocess | None
    labels: str | None
    signature: Signature
    variants: tuple[Variant, ...]
    golden: Golden
    files: dict[str, str]
    tools: dict[str, str]
    created: str
    notes: tuple[str, ...] = field(default=())
    batch: tuple[_Count, _Count] = (1, 16)
    runtimes: tuple[str, ...] = ()
    outputs: Outputs | None = None

    def to_json(self) -> bytes:
        """The manifest as indented JSON, ending in a newline."""
        return _ADAPTER.dump_json(self, indent=2) + b"\n"


_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|b?float(16|32|64)|float8\w*|complex(64|128)")
# A manifest takes some kB; lists of notes, files and inputs may be long.
MOST_BYTES = 64 << 20

_ADAPTER = TypeAdapter(Manifest)
_VERSION_ADAPTER = TypeAdapter(dict[str, object])


def read(folder: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        BundleError: there is none, it is damaged, or its schema version is not ours.
    """
    return parse(read_bytes(folder), folder / FILE_NAME)


def read_bytes(folder: Path) -> bytes:
    """The manifest of a bundle as it stands on disk.

    Raises:
        BundleError: there is none, or it is not a file of a manifest's size.
    """
    path = folder / FILE_NAME
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG):
            raise BundleError(
                f"{path} is not a manifest: {error.strerror}", hint="export the model again"
            ) from None
        if folder.is_file():
            raise BundleError(
                f"{folder} is a file, and a bundle is a folder",
                hint="make one of a model with: pinnace export SOURCE -o NAME.bundle",
            ) from None
        raise BundleError(
            f"{folder} is not a bundle: it has no {FILE_NAME}",
            hint=f"make one with: pinnace export SOURCE -o {folder}"
            if folder.exists() or (similar := similar_path(folder)) is None
            else f"did you mean {similar}?",
        ) from None


def parse(data: bytes, path: Path) -> Manifest:
    """The manifest that these bytes are; `path` is what messages call it.

    Raises:
        BundleError: it is damaged, or its schema version is not ours.
    """
    try:
        version = _VERSION_ADAPTER.validate_json(data).get("schema_version")
        if version not in READABLE_VERSIONS:
            raise BundleError(
                f"{path} has a schema version that this pinnace cannot read",
                expected=" or ".join(map(str, READABLE_VERSIONS)),
                got=str(version),
                hint="export the model again, or use the pinnace that wrote the bundle",
            )
        # Strictly, so that what is read is valid by the schema: a number is no text that looks like one.
        document = _ADAPTER.validate_json(data, strict=True)
        _check(document)
        return document
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            f"{path} is damaged: {where}: {first['msg']}", hint="export the model again"
        ) from None
    except UsageError as error:
        raise BundleError(
            f"{path} is damaged: {error.message}",
            expected=error.expected,
            got=error.got,
            hint="export the model again",
        ) from None


def _check(document: Manifest) -> None:
    """Refuse what no field alone shows.

    Raises:
        UsageError: two things have one name, a sample does not exist, or a range is empty.
    """
    signature, stored = document.signature, document.golden
    _require_different("variants", [variant.name for variant in document.variants])
    for place, specs in (("signature.inputs", signature.inputs), ("signature.outputs", signature.outputs)):
        if not specs:
            raise UsageError(f"{place}: there are none")
        _require_different(place, [spec.name for spec in specs])
        for spec in specs:
            if not _DTYPE.fullmatch(spec.dtype):
                raise UsageError(
                    f"{place}: dtype of {spec.name!r}", expected="such as float32", got=spec.dtype
                )
            if any(isinstance(dim, int) and not 0 < dim < 2**31 for dim in spec.shape):
                raise UsageError(f"{place}: shape of {spec.name!r}", got=str(list(spec.shape)))
    meant = document.outputs and document.outputs.name
    if meant is not None and meant not in signature.output_names:
        raise UsageError(
            f"outputs.name: the model has no output {meant!r}", expected=", ".join(signature.output_names)
        )
    if stored.float32_noise and len(stored.float32_noise) != stored.samples:
        raise UsageError(
            "golden.float32_noise: not one for each sample",
            expected=str(stored.samples),
            got=str(len(stored.float32_noise)),
        )
    for photograph in stored.photographs:
        if photograph.sample >= stored.samples:
            raise UsageError(
                f"golden.photographs: {photograph.file!r} is no golden sample",
                expected=f"less than {stored.samples}",
                got=str(photograph.sample),
            )
    for smallest, largest in (document.batch, *(v.engine.batch for v in document.variants if v.engine)):
        if smallest > largest:
            raise UsageError("batch: the smallest is larger than the largest", got=f"{smallest}, {largest}")


def _require_different(place: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{place}: two are named {name!r}")


def json_schema() -> dict[str, Any]:
    """The JSON schema of a manifest: every manifest that is read is valid by it."""
    schema = _ADAPTER.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "manifest.json"}
