"""What an export is asked for, as plain data that can cross into the child interpreter."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

from pydantic import TypeAdapter

from pinnace.export.preprocessing import Changes
from pinnace.models.bundle.measurements import Quantisation
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders import parse_source
from pinnace.models.loaders.base import LoadRequest
from pinnace.models.loaders.foreign import parse_arguments
from pinnace.models.progress import Event
from pinnace.models.variant_name import VariantName


class OpsetOrigin(Enum):
    """Who asked for the opset."""

    OPTION = "option"
    TARGET = "target"


@dataclass(frozen=True)
class ExportRequest:
    """Everything the child interpreter needs to know.

    Attributes:
        source: the source string.
        variants: names of the variants to write.
        opset: ONNX opset.
        arch: what builds the network, for checkpoints.
        num_classes: number of outputs of a network built with another head.
        input_size: (height, width) instead of the model's own.
        changes: what a file and single options change of the preprocessing.
        inputs: the inputs of a model that takes something else than one image.
        arguments: `name=value` texts for the hub's entry point, or for what builds the network.
        trust: whether Python code that comes with the source may run.
        folder: the caller's working directory.
        weights: which of a checkpoint's weights: a place, a prefix of names, or `ema`.
        opset_origin: who asked for the opset; None where it is the default, to which no file is converted.
        named: the user named the variants, so that none of them is left out.
        fp32_bound: how far a variant in fp32 may be off from the eager model, of the outputs' range.
        images: a folder of images, one folder for each class, to try other preprocessings on; None for none.
        labels: class names of the user's.
        output: the output that is meant, or a tensor inside an ONNX file that is to be the output.
    """

    source: str
    variants: tuple[VariantName, ...]
    opset: int
    arch: str | None = None
    num_classes: int | None = None
    input_size: tuple[int, int] | None = None
    changes: Changes = field(default_factory=Changes)
    inputs: tuple[TensorSpec, ...] = ()
    arguments: tuple[str, ...] = ()
    trust: bool = False
    folder: str = "."
    weights: str | None = None
    opset_origin: OpsetOrigin | None = None
    named: bool = False
    fp32_bound: float | None = None
    images: str | None = None
    labels: tuple[str, ...] | None = None
    output: str | None = None

    @property
    def load_request(self) -> LoadRequest:
        """What of it the loader needs.

        Raises:
            UsageError: the source or an argument has a form that cannot be read.
        """
        return LoadRequest(
            parse_source(self.source),
            self.arch,
            self.num_classes,
            self.folder,
            parse_arguments(self.arguments),
            self.trust,
            self.weights,
        )


OperatorKind: TypeAlias = Literal[
    "softmax",
    "log_softmax",
    "sigmoid",
    "linear",
    "pooling",
    "normalisation",
    "activation",
    "other",
    "pooled_convolution",
]


@dataclass(frozen=True)
class GraphEnd:
    """What computes an output, apart from what only gives the same values another shape or type.

    Attributes:
        kind: of operator.
        op: its name in the file, such as `Softmax`.
        reads: the tensor that the last operator which changes values is computed from; None where the file
            has no name for it.
    """

    kind: OperatorKind
    op: str
    reads: str | None = None


@dataclass(frozen=True)
class ResizeTrial:
    """What came of trying other preprocessings on labelled images.

    Attributes:
        images: how many were tried.
        right: how many of them the preprocessing that was taken gets right.
        better: options of another one that gets clearly more right, or None.
        better_right: how many that gets right.
    """

    images: int
    right: int
    better: str | None = None
    better_right: int = 0


@dataclass(frozen=True)
class ExportedFiles:
    """What the child interpreter wrote, and what it learnt.

    Attributes:
        signature: inputs and outputs.
        preprocess: the preprocessing, or None.
        labels: class names, or None.
        files: file name of each variant.
        photographs: file name to sample index of the golden inputs.
        samples: number of golden samples.
        tools: versions of the tools that wrote the files.
        warnings: what the writer of each variant warned of.
        notes: sentences for the user.
        ends: what computes each output, by name, where that can be seen.
        classes: how many classes the network says that it has, 0 for one without its head, or None.
        exported: the source was an exported file, whose own answers the golden outputs are.
        exporters: of the variants that there is more than one way to write, which way it was.
        float32_noise: see `pinnace.models.bundle.manifest.Golden`.
        activations: of a file that the source is, see `pinnace.models.bundle.manifest.Variant`.
        quantisations: of int8 variants, how they were made.
        trial: what other preprocessings give on labelled images; None where nothing was tried.
    """

    signature: Signature
    preprocess: Preprocess | None
    labels: tuple[str, ...] | None
    files: dict[VariantName, str]
    photographs: dict[str, int]
    samples: int
    tools: dict[str, str]
    warnings: dict[VariantName, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    ends: dict[str, GraphEnd] = field(default_factory=dict)
    classes: int | None = None
    exported: bool = False
    exporters: dict[VariantName, str] = field(default_factory=dict)
    float32_noise: tuple[float, ...] = ()
    activations: dict[VariantName, str | None] = field(default_factory=dict)
    trial: ResizeTrial | None = None
    quantisations: dict[VariantName, Quantisation] = field(default_factory=dict)

    def is_given_file(self, name: VariantName) -> bool:
        """Whether a variant is an ONNX file that was given, as it is."""
        given = self.exported and name.format == REFERENCE.format and not self.exporters
        return given and (name == REFERENCE or REFERENCE not in self.files)


# What conversions are made of and compared with, and the variant of a source that is ONNX already.
REFERENCE = VariantName("onnx", "fp32")

REQUEST = TypeAdapter(ExportRequest)
FILES = TypeAdapter(ExportedFiles)
EVENT = TypeAdapter(Event)
