"""What goes into a loader and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pinnace.models.bundle.signature import BATCH, TensorSpec
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
        weights: which of a checkpoint's weights; see `pinnace.models.loaders.state_dict.find_weights`.
    """

    source: Source
    arch: str | None = None
    num_classes: int | None = None
    folder: str = "."
    arguments: Mapping[str, object] = field(default_factory=dict)
    trust: bool = False
    weights: str | None = None

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
        assumed_for: whose preprocessing that is, such as `torchvision's resnet18`, where the weights may have
            been trained with another.
    """

    module: torch.nn.Module
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())
    inputs: tuple[TensorSpec, ...] | None = None
    exported: bool = False
    assumed_for: str | None = None


@dataclass(frozen=True)
class OnnxFile:
    """A network that is an ONNX file already; it needs no torch.

    Attributes:
        path: the file.
        preprocess: what files beside it say of the preprocessing, or None.
        labels: what they say of the class names, or None.
        notes: sentences for the user.
    """

    path: Path
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListedModel:
    """A model that `pinnace models` lists.

    Attributes:
        source: the string that exports it.
        size: edge of the square input.
        weights: what its weights were trained on, in words.
        top1: published ImageNet top-1 accuracy in percent, or None.
    """

    source: str
    size: int
    weights: str
    top1: float | None = None


# What stands after `KIND:` in a source string: the name, the ref and the entry point.
Parts: TypeAlias = tuple[str, str | None, str | None]


def only_name(text: str) -> Parts | None:
    """All of the text is the name."""
    return text, None, None


def name_and_ref(text: str) -> Parts | None:
    """`NAME` or `NAME@REF`."""
    name, at, ref = text.partition("@")
    return None if at and not ref else (name, ref or None, None)


@dataclass(frozen=True)
class Loader:
    """One kind of source: a module of `pinnace.models.loaders` declares it as `LOADER`.

    Attributes:
        kind: what stands before the colon in a source string.
        form: how a source string looks, for messages.
        usage: the same in short, for `--help`; empty where a plain path of a folder says enough.
        load: loads the network. It raises UsageError where an option does not apply, or code would have to
            run that is not trusted; SourceError where the source cannot be found, reached or loaded;
            MissingDependency where a package is missing.
        snippet: Python lines that make `model` without Pinnace, for a script that shows a failure. `torch`
            is imported.
        parse: what stands after the colon, taken apart; None where it has the wrong form. `str` of the source
            puts the parts together again.
        rank: lower is listed first.
        size: height and width of an example image, where nothing else says them.
        reads: the file of the user's that a source reads, as the source names it, or None.
        listed: the models that `pinnace models` lists.
        find: the source for a path that was typed without a kind; None where it is none of these.
        title: what the model is called in its source, where the bundle is to have that name, or None.
    """

    kind: str
    form: str
    usage: str
    load: Callable[[LoadRequest], LoadedModel | OnnxFile]
    snippet: Callable[[LoadRequest], str]
    parse: Callable[[str], Parts | None] = only_name
    rank: int = 100
    size: tuple[int, int] = (224, 224)
    reads: Callable[[Source], str | None] = lambda source: None
    listed: Callable[[], Sequence[ListedModel]] = tuple
    find: Callable[[str], Source | None] = lambda text: None
    title: Callable[[Source], str | None] = lambda source: None


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


def resize_to(preprocess: Preprocess, size: tuple[int, int]) -> Preprocess:
    """The same preprocessing for another input size; the crop keeps its share of the resized edge."""
    if preprocess.crop is None or not isinstance(preprocess.resize, int):
        return replace(preprocess, resize=size, crop=None)
    share = preprocess.resize / max(preprocess.crop)
    return replace(preprocess, resize=round(max(size) * share), crop=size)


def with_channels(loaded: LoadedModel, channels: int | None) -> LoadedModel:
    """The same for a network that takes images of so many channels; None where it takes colour.

    One channel is grey, with mean 0 and std 1; other numbers are no image, and nothing prepares them.
    """
    if channels is None or loaded.preprocess is None:
        return loaded
    if channels == 1:
        return replace(loaded, preprocess=replace(loaded.preprocess, color="L", mean=(0.0,), std=(1.0,)))
    size = loaded.preprocess.crop or loaded.preprocess.resize
    dims = size if isinstance(size, tuple) else ("height", "width")
    spec = TensorSpec("input", "float32", (BATCH, channels, *dims))
    return replace(loaded, preprocess=None, inputs=(spec,))


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 ImageNet-1k class names in their customary order, as torchvision has them."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def refuse(request: LoadRequest, **options: object) -> None:
    """Raise `UsageError` for the first option that is given and means nothing for this kind of source."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to {request.source}")
