"""Models of `torchvision.models`, with their own weights' preprocessing and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.image.preprocess import Interpolation, Preprocess
from pinnace.models.install import install_line
from pinnace.models.loaders.base import (
    LoadedModel,
    Loader,
    LoadRequest,
    imagenet_preprocess,
    name_and_ref,
    refuse,
    resize_to,
    with_channels,
)
from pinnace.models.loaders.foreign import describe
from pinnace.models.loaders.torchvision_weights import read_off, replace_first_layer
from pinnace.models.loaders.transform_input import FIRST_LAYERS
from pinnace.models.source import NO_WEIGHTS

if TYPE_CHECKING:
    import torch

_CLIP_FRAMES = 16


def load(request: LoadRequest) -> LoadedModel:
    """Build the network; weights are the default ones unless `@WEIGHTS` or `@none` says otherwise."""
    refuse(request, arch=request.arch)
    name, ref = request.source.name, request.source.ref
    if ref == NO_WEIGHTS:
        loaded = build_untrained(name, None, request.keywords)
        return replace(loaded, notes=(*loaded.notes, f"{name} was exported with random weights"))
    refuse(request, num_classes=request.num_classes)
    _require_one_answer(name)
    weights = _choose(name, ref)
    return _described(name, _build(name, weights, dict(request.arguments)), weights)


def build_untrained(
    name: str, weights: str | None, arguments: Mapping[str, object], state: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Build a network with random weights; nothing is downloaded.

    Args:
        name: torchvision's name.
        weights: the weights that it is built for: their preprocessing, labels and settings; by default the
            first.
        arguments: for torchvision's builder.
        state: the weights that it is built for; what they show need not be among the arguments.

    Raises:
        UsageError: there is no such model, or it answers with another number of results for each image.
        SourceError: torchvision cannot build it.
    """
    _require_one_answer(name)
    described = next(iter(_weights_of(name)), None) if weights is None else _choose(name, weights)
    given: dict[str, Any] = dict(arguments)
    notes: list[str] = []
    if name in FIRST_LAYERS:
        given.setdefault("init_weights", False)  # minutes of truncated normals, soon overwritten
        if weights is not None:
            given.setdefault("transform_input", True)
    if name.startswith("vit_") and described is not None:
        given.setdefault("image_size", described.meta["min_size"][0])
    if _task(described) == "SemanticSegmentation":
        given.setdefault("weights_backbone", None)
    channels = None
    if state is not None:
        channels = read_off(name, state, given, lambda: _build(name, None, given), notes)
    module = _build(name, None, given)
    if channels is not None:
        replace_first_layer(module, channels)
    loaded = _described(name, module, described)
    if loaded.preprocess is not None and isinstance(size := given.get("image_size"), int):
        loaded = replace(loaded, preprocess=resize_to(loaded.preprocess, (size, size)))
    loaded = with_channels(loaded, channels)
    if "num_classes" in given:
        loaded = replace(loaded, labels=None)
    assumed_for = None if loaded.preprocess is None else f"torchvision's {name}"
    return replace(loaded, notes=(*loaded.notes, *notes), assumed_for=assumed_for)


def _build(name: str, weights: Any, arguments: dict[str, Any]) -> torch.nn.Module:
    try:
        return cast("torch.nn.Module", _models().get_model(name, weights=weights, **arguments))
    except (OSError, RuntimeError) as error:
        if weights is None:
            raise SourceError(f"torchvision cannot build {name}: {describe(error)}") from error
        raise SourceError(
            f"the weights {weights} of torchvision:{name} cannot be downloaded: {error}",
            hint=f"download {weights.url} elsewhere and use file:PATH "
            f"--arch torchvision:{name}@{weights.name}, or torchvision:{name}@none for random weights",
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"torchvision cannot build {name}: {describe(error)}") from None


def _models() -> Any:
    try:
        import torchvision.models
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"torchvision sources need the package {error.name}", hint=install_line("export")
        ) from None
    return torchvision.models


def _weights_of(name: str) -> Any:
    import difflib

    models = _models()
    known = models.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or ["resnet50"]
        raise UsageError(f"torchvision has no model {name!r}", expected="for example " + ", ".join(near))
    return models.get_model_weights(name)


def _task(weights: Any) -> str | None:
    """The name of the weights' transforms, which is the name of their task."""
    return None if weights is None else type(weights.transforms()).__name__


def _require_one_answer(name: str) -> None:
    if _task(next(iter(_weights_of(name)), None)) == "ObjectDetection":
        raise UsageError(
            f"torchvision:{name} detects objects: it answers with another number of boxes for each image, "
            "which a bundle cannot hold"
        )
    if _task(next(iter(_weights_of(name)), None)) == "OpticalFlow":
        raise UsageError(
            f"torchvision:{name} estimates optical flow: it answers with a list of fields that get better, "
            "which a bundle cannot hold"
        )


def _choose(name: str, ref: str | None) -> Any:
    family = _weights_of(name)
    if ref is None:
        return family.DEFAULT
    try:
        return family[ref]
    except KeyError:
        raise UsageError(
            f"torchvision:{name} has no weights {ref!r}",
            expected="one of " + ", ".join([*family.__members__, NO_WEIGHTS]),
            got=ref,
        ) from None


def _described(name: str, module: torch.nn.Module, weights: Any) -> LoadedModel:
    """The network with what its weights say of it."""
    if weights is None:
        return LoadedModel(module, imagenet_preprocess())
    preset = weights.transforms()
    labels = tuple(weights.meta.get("categories") or ()) or None
    task = _task(weights)
    if task == "VideoClassification":
        clip = TensorSpec("clip", "float32", (BATCH, 3, _CLIP_FRAMES, *preset.crop_size))
        note = f"{name} takes clips of {_CLIP_FRAMES} frames, which a bundle does not preprocess"
        return LoadedModel(module, None, labels, (note,), (clip,))
    if task == "SemanticSegmentation":
        (edge,) = preset.resize_size
        note = f"{name} takes images of any shape; in the bundle they are squeezed into one"
        return LoadedModel(module, _preprocess(preset, (edge, edge), None), None, (note,))
    crop = preset.crop_size[0]
    return LoadedModel(module, _preprocess(preset, preset.resize_size[0], (crop, crop)), labels)


def _preprocess(preset: Any, resize: int | tuple[int, int], crop: tuple[int, int] | None) -> Preprocess:
    interpolation = cast("Interpolation", preset.interpolation.value)
    return Preprocess(resize, interpolation, crop, "RGB", tuple(preset.mean), tuple(preset.std))


def snippet(request: LoadRequest) -> str:
    """Lines that make the network with torchvision alone."""
    source = request.source
    weights = None if source.ref == NO_WEIGHTS else source.ref or "DEFAULT"
    arguments = "".join(f", {name}={value!r}" for name, value in request.keywords.items())
    return (
        "import torchvision\n\n"
        f"model = torchvision.models.get_model({source.name!r}, weights={weights!r}{arguments})\n"
    )


LOADER = Loader(
    kind="torchvision",
    form="torchvision:resnet50[@WEIGHTS or @none]",
    usage="torchvision:NAME",
    load=load,
    snippet=snippet,
    parse=name_and_ref,
    rank=10,
)
