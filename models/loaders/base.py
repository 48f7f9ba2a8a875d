"""What goes into a loader and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.source import Source

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoadRequest:
    """What the user asked to be loaded.

    Attributes:
        source: where the model comes from.
        arch: what builds the network for a checkpoint; see `pinnace.models.loaders.architecture`.
        num_classes: number of outputs, where the network is built with another head.
        folder: the caller's working directory, from which `arch` is imported.
        arguments: keyword arguments for the hub's entry point, or for what builds the network.
        trust: whether Python code that comes with the source may run.
    """

    source: Source
    arch: str | None = None
    num_classes: int | None = None
    folder: str = "."
    arguments: Mapping[str, object] = field(default_factory=dict)
    trust: bool = False

    @property
    def keywords(self) -> dict[str, object]:
        """All keyword arguments, `num_classes` among them where it is given."""
        given: dict[str, object] = {} if self.num_classes is None else {"num_classes": self.num_classes}
        return given | dict(self.arguments)


@dataclass(frozen=True)
class LoadedModel:
    """A network in memory.

    Attributes:
        module: the network, on the CPU.
        preprocess: what the weights want to eat, where that is known.
        labels: one class name per output, where that is known.
        notes: sentences for the user.
        inputs: the inputs, where they are known and are not one image; a dynamic batch is called `batch`.
        exported: somebody exported it before; its own answers are all that there is to compare with.
    """

    module: torch.nn.Module
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())
    inputs: tuple[TensorSpec, ...] | None = None
    exported: bool = False


@dataclass(frozen=True)
class OnnxFile:
    """A network that is an ONNX file already; it needs no torch."""

    path: Path


class Loader(Protocol):
    """One kind of source: a module `pinnace.models.loaders.KIND` that has this function."""

    def load(self, request: LoadRequest) -> LoadedModel | OnnxFile:
        """Load the network.

        Raises:
            UsageError: an option does not apply, or code would have to run that is not trusted.
            SourceError: the source cannot be found, reached or loaded.
            MissingDependency: a package is missing.
        """


def imagenet_preprocess(crop: int = 224, resize: int | None = None) -> Preprocess:
    """The customary ImageNet preprocessing: bilinear, centre crop, mean and std of the training set."""
    return Preprocess(
        resize=round(crop / 0.875) if resize is None else resize,
        interpolation="bilinear",
        crop=(crop, crop),
        color="RGB",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 ImageNet-1k class names in their customary order, as torchvision has them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def refuse(request: LoadRequest, **options: object) -> None:
    """Raise `UsageError` for the first option that is given and means nothing for this kind of source."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to {request.source}")
