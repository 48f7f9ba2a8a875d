"""The manifest of a bundle: what `manifest.json` says, and its schema version."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.files import read_regular, similar_path
from pinnace.models.image.preprocess import Preprocess

# Version 2 says what the outputs mean; see `pinnace.models.bundle.outputs.of_an_older_bundle` for version 1.
SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, SCHEMA_VERSION)
FILE_NAME = "manifest.json"

_Finite = Annotated[float, Field(allow_inf_nan=False)]
# A bound beyond these could not be broken.
_Share = Annotated[float, Field(ge=0, le=1)]
_Cosine = Annotated[float, Field(ge=-1, le=1)]
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]

# Of fewer photographs than this, one whose answer changes is a large share: shares are then not judged.
FEWEST_FOR_SHARES = 20


@dataclass(frozen=True)
class Parity:
    """How far a variant's outputs lie from the eager model's on the golden inputs.

    Attributes:
        max_abs: largest absolute difference of any output element.
        max_rel: largest absolute difference of any sample, divided by the range (max - min) of the eager
            outputs for that sample.
        cosine: smallest cosine similarity of any sample.
        top1_agreement: share of samples with the same first class, 0 to 1; None where not exactly one class
            is true.
        samples: how many samples were compared.
        runtime: which runtime ran the variant.
        label_agreement: where several labels may be true, how far the same reach the threshold: the mean,
            over samples, of those that do for both divided by those that do for one of the two (the Jaccard
            index); else None.
        max_rel_beyond_noise: of an fp32 variant, as `max_rel`, but of each sample four times what the eager
            model itself is off there (`Golden.float32_noise`) is allowed for; None where that is not known.
    """

    max_abs: _Finite
    max_rel: _Finite
    cosine: _Finite
    top1_agreement: _Finite | None
    samples: int
    runtime: str
    label_agreement: _Finite | None = None
    max_rel_beyond_noise: _Finite | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far a variant may lie from the eager model.

    Attributes:
        max_rel: upper bound of `max_rel` of a parity or proof; of `max_rel_beyond_noise` where that is known.
        min_cosine: lower bound of `cosine`.
        min_top1_agreement: lower bound of `top1_agreement`.
        max_mean_rel: upper bound of `Proof.mean_rel`.
        min_top5_overlap: lower bound of `Proof.top5_overlap`.
        min_label_agreement: lower bound of `label_agreement`.
        photographs_only: judged on photographs and not on noise and extremes, which no picture gives and
            which say little about a low precision.
    """

    max_rel: _Share | None = None
    min_cosine: _Cosine | None = None
    min_top1_agreement: _Share | None = None
    max_mean_rel: _Share | None = None
    min_top5_overlap: _Share | None = None
    min_label_agreement: _Share | None = None
    photographs_only: bool = False


@dataclass(frozen=True)
class Proof:
    """How far a variant's outputs lie from fp32 on photographs: the golden ones, and those the user gave.

    Attributes:
        images: how many photographs.
        max_abs: largest absolute difference of any output element.
        mean_abs: mean absolute difference over all output elements.
        max_rel: largest absolute difference of any photograph, divided by the range of its fp32 outputs.
        mean_rel: the largest, over photographs, of the mean absolute difference divided by that range.
        cosine: smallest cosine similarity of any photograph.
        top1_agreement: share of photographs with the same first class, 0 to 1; None where not exactly one
            class is true.
        top5_overlap: mean share of the five highest classes that both have; None likewise.
        runtime: which runtime ran the variant.
        label_agreement: as in `Parity`.
    """

    images: int
    max_abs: _Finite
    mean_abs: _Finite
    max_rel: _Finite
    mean_rel: _Finite
    cosine: _Finite
    top1_agreement: _Finite | None
    top5_overlap: _Finite | None
    runtime: str
    label_agreement: _Finite | None = None


@dataclass(frozen=True)
class RecipeScore:
    """How close to fp32 one recipe of int8 came, on calibration images that were held out.

    Attributes:
        recipe: its name.
        error: mean of the images, by `Quantisation.measure`; 0 is exact. None where it was not tried.
        interval: of that at 95 %, the images drawn anew.
        top1_agreement: share of the images with the same highest output, 0 to 1; None where there is not one
            output with a value for each class.
        reason: why it was not tried.
    """

    recipe: str
    error: _Finite | None
    interval: tuple[_Finite, _Finite] | None = None
    top1_agreement: _Finite | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Quantisation:
    """How an int8 variant was made.

    Attributes:
        recipe: which recipe made it.
        method: how the ranges were found.
        images: how many images it was calibrated with.
        held_out: how many others the recipes were judged on; 0 where there was no race.
        measure: what the recipes were judged by: `kl`, the Kullback-Leibler divergence of the classes from
            those of fp32, in nats; or `squared`, |answer - fp32|^2 / |fp32 - its mean|^2.
        race: every recipe, the best first.
    """

    recipe: str
    method: str
    images: int
    held_out: int = 0
    measure: Literal["kl", "squared"] | None = None
    race: tuple[RecipeScore, ...] = ()


@dataclass(frozen=True)
class Accuracy:
    """How often the right class came first, and among the first five, on labelled images.

    Attributes:
        images: how many images.
        top1: share whose most probable class is the right one, 0 to 1.
        top5: share whose right class is among the five most probable, or among all where there are fewer.
        top1_interval: Wilson's 95 % interval of `top1`.
        top5_interval: the same of `top5`.
    """

    images: _Count
    top1: _Share
    top5: _Share
    top1_interval: tuple[_Share, _Share]
    top5_interval: tuple[_Share, _Share]


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
