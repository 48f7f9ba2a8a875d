"""Models of timm, with the preprocessing that their `pretrained_cfg` says."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.image.preprocess import Interpolation, Preprocess
from pinnace.models.install import install_line
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, Parts, refuse, with_channels
from pinnace.models.loaders.foreign import describe
from pinnace.models.loaders.shapes import compare, on_meta
from pinnace.models.source import NO_WEIGHTS

if TYPE_CHECKING:
    import torch

_OFFLINE = "HF_HUB_OFFLINE"
_PROBE_TIMEOUT = 5.0


def load(request: LoadRequest) -> LoadedModel:
    """Build the network, with its pretrained weights unless the source ends in `@none`."""
    refuse(request, arch=request.arch)
    name = request.source.name
    if request.source.ref == NO_WEIGHTS:
        loaded = build_untrained(name, request.keywords)
        note = f"{name} was exported with random weights"
        return replace(loaded, notes=(*loaded.notes, note))
    refuse(request, num_classes=request.num_classes)
    _mind_the_network()
    return _described(_create(name, request.keywords, pretrained=True))


def load_folder(folder: Path) -> LoadedModel:
    """Load a network from a folder as timm writes it for Hugging Face's hub.

    Raises:
        SourceError: timm cannot load it.
    """
    timm = _timm()
    try:
        module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # timm, huggingface_hub and safetensors each raise classes of their own
        raise SourceError(f"{folder} cannot be loaded by timm: {describe(error)}") from error
    return _described(module)


def build_untrained(
    name: str, arguments: Mapping[str, object], state: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Build a network with random weights, and the preprocessing of the weights it is known with.

    Args:
        name: timm's name.
        arguments: for `timm.create_model`.
        state: the weights that it is built for; what they show need not be among the arguments.

    Raises:
        UsageError: timm has no such model.
        SourceError: timm cannot build it.
    """
    given = dict(arguments)
    notes: list[str] = []
    if state is not None:
        _read_off(name, state, given, notes)
    loaded = _described(_create(name, given, pretrained=False))
    channels = given.get("in_chans", 3)
    loaded = with_channels(loaded, None if channels == 3 else int(str(channels)))
    return replace(loaded, notes=(*loaded.notes, *notes), assumed_for=f"timm's {name}")


def _read_off(name: str, state: Mapping[str, Any], given: dict[str, object], notes: list[str]) -> None:
    """Add to the arguments the number of classes and channels and the image size that the weights show."""
    shapes = compare(on_meta(lambda: _create(name, given, pretrained=False)), state)
    if shapes.num_classes is not None and "num_classes" not in given:
        given["num_classes"] = shapes.num_classes
        notes.append(f"{shapes.num_classes} classes, by the shape of {shapes.head}")
    if shapes.channels is not None and "in_chans" not in given:
        given["in_chans"] = shapes.channels
        word = "channel" if shapes.channels == 1 else "channels"
        notes.append(f"the network takes images of {shapes.channels} {word}, by the shape of {shapes.stem}")
    if "pos_embed" in shapes.others and "img_size" not in given and (size := _image_size(state)):
        given["img_size"] = size
        notes.append(f"an image size of {size}, by the shape of pos_embed")


def _image_size(state: Mapping[str, Any]) -> int | None:
    """The edge of the square image that a vision transformer's position embedding was made for."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in state.items():
        for end in ("pos_embed", "patch_embed.proj.weight"):
            if name.endswith(end):
                shapes[end] = tuple(getattr(value, "shape", ()))
    positions, patch = shapes.get("pos_embed", ()), shapes.get("patch_embed.proj.weight", ())
    if len(positions) != 3 or len(patch) != 4:
        return None
    patches = [
        positions[1] - extra for extra in (0, 1, 2, 5)
    ]  # with the tokens of class, distillation, registers
    side = next(
        (math.isqrt(count) for count in patches if count > 0 and math.isqrt(count) ** 2 == count), None
    )
    return None if side is None else side * int(patch[2])


def _create(name: str, arguments: Mapping[str, object], *, pretrained: bool) -> torch.nn.Module:
    timm = _timm()
    _require_known(timm, name)
    try:
        return cast("torch.nn.Module", timm.create_model(name, pretrained=pretrained, **arguments))
    except Exception as error:  # timm, huggingface_hub and safetensors each raise classes of their own
        if not pretrained:
            raise SourceError(f"timm cannot build {name}: {describe(error)}") from error
        if "No pretrained weights exist" in str(error):
            raise UsageError(
                f"timm has no pretrained weights for {name}", hint=f"timm:{name}@none has random ones"
            ) from None
        reason = f"{_server()} cannot be reached" if os.environ.get(_OFFLINE) else describe(error)
        raise SourceError(
            f"the weights of timm:{name} cannot be downloaded: {reason}",
            hint=f"download them elsewhere and use file:PATH --arch timm:{name}, "
            f"or timm:{name}@none for random weights",
        ) from error


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"timm sources need the package {error.name}, which is not installed",
            hint=install_line("export"),
        ) from None
    return timm


def _require_known(timm: Any, name: str) -> None:
    import difflib

    if ":" in name:  # hf-hub:OWNER/NAME and the like
        return
    architecture, dot, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), 3) or ["resnet50"]
        raise UsageError(f"timm has no model {architecture!r}", expected="for example " + ", ".join(near))
    if dot and tag not in (tags := _tags(timm, architecture)):
        raise UsageError(
            f"timm has no weights {tag!r} for {architecture}",
            expected="one of " + ", ".join(tags) if tags else None,
            got=tag,
        )


def _tags(timm: Any, architecture: str) -> list[str]:
    names = timm.list_models(f"{architecture}.*", pretrained=True)
    return [name.partition(".")[2] for name in names if name.startswith(f"{architecture}.")]


def _mind_the_network() -> None:
    """Where the weights' server cannot be reached, say so at once.

    huggingface_hub would try for most of a minute. Files that it downloaded before are still found.
    """
    import urllib.error
    import urllib.request

    request = urllib.request.Request(_server(), method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError):
        os.environ[_OFFLINE] = "1"  # read when huggingface_hub is imported


def _server() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _described(module: torch.nn.Module) -> LoadedModel:
    data: Any = importlib.import_module("timm.data")
    config = data.resolve_model_data_config(module)
    notes: list[str] = []
    return LoadedModel(module, _preprocess(config, notes), _labels(module), tuple(notes))


def _preprocess(config: dict[str, Any], notes: list[str]) -> Preprocess:
    """The same as `timm.data.create_transform(**config)`, as `transforms_imagenet_eval` in timm builds it."""
    channels, height, width = config["input_size"]
    share = config["crop_pct"]
    scaled = (math.floor(height / share), math.floor(width / share))
    resize: int | tuple[int, int] = scaled[0]
    if config["crop_mode"] != "center" or scaled[0] != scaled[1]:
        resize = scaled
    if config["crop_mode"] == "border" or (config["crop_mode"] == "center" and scaled[0] != scaled[1]):
        notes.append(
            f"timm would keep the aspect ratio of images (crop mode {config['crop_mode']}, "
            f"{height}x{width}); here they are squeezed into the input"
        )
    return Preprocess(
        resize=resize,
        interpolation=cast("Interpolation", config["interpolation"]),
        crop=(height, width),
        color="L" if channels == 1 else "RGB",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _labels(module: torch.nn.Module) -> tuple[str, ...] | None:
    """The class names that the weights bring, or those of the ImageNet subset with as many classes."""
    data: Any = importlib.import_module("timm.data")
    config = getattr(module, "pretrained_cfg", None) or {}
    classes = getattr(module, "num_classes", None)
    named = config.get("label_names")
    if named and len(named) == classes:
        descriptions = config.get("label_descriptions") or {}
        return tuple(str(descriptions.get(name, name)) for name in named)
    if classes != config.get("num_classes") or (subset := data.infer_imagenet_subset(module)) is None:
        return None
    return tuple(data.ImageNetInfo(subset).label_descriptions())


def snippet(request: LoadRequest) -> str:
    """Lines that make the network with timm alone."""
    source = request.source
    pretrained = source.ref != NO_WEIGHTS
    arguments = "".join(f", {name}={value!r}" for name, value in request.keywords.items())
    return f"import timm\n\nmodel = timm.create_model({source.name!r}, pretrained={pretrained}{arguments})\n"


def _parse(text: str) -> Parts:
    """Only `@none` is a ref: names such as `hf-hub:OWNER/NAME@REVISION` have an @ of their own."""
    name = text.removesuffix(f"@{NO_WEIGHTS}")
    return name, None if name == text else NO_WEIGHTS, None


LOADER = Loader(
    kind="timm",
    form="timm:mobilenetv3_small_100[.TAG][@none]",
    usage="timm:NAME",
    load=load,
    snippet=snippet,
    parse=_parse,
    rank=30,
)
