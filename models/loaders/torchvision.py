"""Models of `torchvision.models`, with their own weights' preprocessing and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.loaders.base import LoadedModel, LoadRequest, imagenet_preprocess, refuse
from pinnace.models.preprocess import Interpolation, Preprocess

if TYPE_CHECKING:
    import torch

NO_WEIGHTS = "none"


def load(request: LoadRequest) -> LoadedModel:
    """Build the network; weights are the default ones unless `@WEIGHTS` or `@none` says otherwise."""
    refuse(request, arch=request.arch)
    source = request.source
    family = _weights_of(source.name)
    described = next(iter(family), None)
    if described is not None and type(described.transforms()).__name__ != "ImageClassification":
        raise UsageError(f"torchvision:{source.name} is no image classifier")
    weights = None
    if source.ref != NO_WEIGHTS:
        refuse(request, num_classes=request.num_classes)
        weights = _choose(source.name, family, source.ref)
    module = build(source.name, weights, num_classes=request.num_classes)
    described = weights or described
    if described is None:
        return LoadedModel(module, imagenet_preprocess())
    labels = described.meta.get("categories") if request.num_classes is None else None
    notes = () if weights else (f"{source.name} was exported with random weights",)
    return LoadedModel(module, _preprocess(described), tuple(labels) if labels else None, notes)


def build(name: str, weights: Any = None, **arguments: Any) -> torch.nn.Module:
    """Build a torchvision network, downloading its weights where they are asked for.

    Raises:
        UsageError: there is no such model.
        SourceError: the weights cannot be reached.
    """
    models = _models()
    _weights_of(name)
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if name in ("inception_v3", "googlenet") and weights is None:
        arguments.setdefault("init_weights", False)  # minutes of truncated normals, soon overwritten
    try:
        return cast("torch.nn.Module", models.get_model(name, weights=weights, **arguments))
    except (OSError, RuntimeError) as error:
        if weights is None:
            raise SourceError(f"torchvision cannot build {name}: {error}") from error
        raise SourceError(
            f"the weights {weights} of torchvision:{name} cannot be downloaded: {error}",
            hint=f"download {weights.url} elsewhere and use file:PATH --arch torchvision:{name}, "
            f"or torchvision:{name}@none for random weights",
        ) from error


def _models() -> Any:
    try:
        import torchvision.models
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"torchvision sources need the package {error.name}", hint="pip install 'pinnace[export]'"
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


def _choose(name: str, family: Any, ref: str | None) -> Any:
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


def _preprocess(weights: Any) -> Preprocess:
    preset = weights.transforms()
    crop = preset.crop_size[0]
    return Preprocess(
        resize=preset.resize_size[0],
        interpolation=cast("Interpolation", preset.interpolation.value),
        crop=(crop, crop),
        color="RGB",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
