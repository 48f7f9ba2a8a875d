"""What a checkpoint says of itself beside its weights: network, class names, image size, normalisation."""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import Interpolation, Preprocess
from pinnace.models.labels import KEYS, names_in
from pinnace.models.loaders.base import LoadedModel, imagenet_preprocess, resize_to

if TYPE_CHECKING:
    import torch

# Where trainers keep what they were called with.
_PLACES = (
    *(
        "args",
        "hyper_parameters",
        "hparams",
        "datamodule_hyper_parameters",
        "config",
        "cfg",
        "opt",
        "train_args",
    ),
    *("meta", "dataset_meta", "model_args", "model_kwargs", "model_config", "data", "dataset"),
)
_ARCH = (
    *("arch", "architecture", "model_name", "model_arch", "arch_name", "backbone", "backbone_name"),
    *("encoder_name", "base_model", "network", "model", "net"),
)
_SIZES = (
    "img_size",
    "image_size",
    "input_size",
    "imgsz",
    "crop_size",
    "val_crop_size",
    "im_size",
    "resolution",
)
_MEANS = (("mean", "std"), ("image_mean", "image_std"), ("norm_mean", "norm_std"))
_DEEPEST = 3
_LARGEST = 8192

Trainer = str
TIMM, TORCHVISION, ULTRALYTICS, FASTAI = "timm", "torchvision", "Ultralytics", "fastai"


@dataclass(frozen=True)
class Facts:
    """What a checkpoint says of itself; None where it says nothing.

    Attributes:
        trainer: the training script, where it is one that is known.
        arch: the network's name, as it stands there.
        labels: one class name per output.
        labels_from: the place where they are.
        size: height and width of the image.
        size_from: the place where it is.
        preprocess: the whole preprocessing, where the trainer's is known.
        mean: per channel, on a scale of 0..1.
        std: per channel.
        interpolation: of the resize.
        share: crop edge divided by resized edge.
        caveat: how the trainer's preprocessing differs from `preprocess`.
    """

    trainer: Trainer | None = None
    arch: str | None = None
    labels: tuple[str, ...] | None = None
    labels_from: str | None = None
    size: tuple[int, int] | None = None
    size_from: str | None = None
    preprocess: Preprocess | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    share: float | None = None
    caveat: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on each finding, for a model to which all of them apply."""
        return (*self._labels_notes, *([] if self.preprocess is None else [self._preprocess_note()]))

    @property
    def _labels_notes(self) -> tuple[str, ...]:
        if self.labels is None:
            return ()
        return (f"{len(self.labels)} class names were found in the file ({self.labels_from})",)

    def applied_to(self, loaded: LoadedModel) -> LoadedModel:
        """The model with what its checkpoint says, and a note on each finding."""
        if self.labels is not None:
            loaded = replace(loaded, labels=self.labels)
        notes = list(self._labels_notes)
        preprocess = self._over(loaded.preprocess)
        if preprocess is not None and preprocess != loaded.preprocess and loaded.inputs is None:
            known = self.preprocess is not None
            loaded = replace(loaded, preprocess=preprocess, assumed_for=None if known else loaded.assumed_for)
            notes.append(self._preprocess_note())
        return replace(loaded, notes=(*loaded.notes, *notes))

    def _over(self, base: Preprocess | None) -> Preprocess | None:
        if self.preprocess is not None:
            return self.preprocess
        said = (self.size, self.mean, self.std, self.interpolation, self.share)
        if all(value is None for value in said):
            return base
        result = base or imagenet_preprocess()
        if self.size is not None and self.size != result.crop:
            # timm keeps the share of the crop; other scripts most often squeeze the image into their size.
            result = (
                resize_to(result, self.size)
                if self.trainer == TIMM
                else replace(result, resize=self.size, crop=None)
            )
        if self.share and result.crop is not None:
            result = replace(result, resize=int(max(result.crop) / self.share))
        if self.interpolation is not None:
            result = replace(result, interpolation=self.interpolation)
        if self.mean is not None and self.std is not None and len(self.mean) == result.channels:
            result = replace(result, mean=self.mean, std=self.std)
        return result

    def _preprocess_note(self) -> str:
        if self.preprocess is not None:
            said = f"the preprocessing is that of {self.trainer}'s own validation, as the file says"
            return f"{said}; {self.caveat}" if self.caveat else said
        parts = []
        if self.size is not None:
            how = "" if self.trainer == TIMM else ", into which images are assumed to be squeezed"
            parts.append(f"an image size of {self.size[0]}x{self.size[1]} ({self.size_from}){how}")
        if self.mean is not None:
            parts.append("mean and std")
        if self.interpolation is not None or self.share is not None:
            parts.append("interpolation or crop")
        return "found in the checkpoint: " + "; ".join(parts)


def read_facts(data: Any) -> Facts:
    """Look through what a checkpoint holds.

    Args:
        data: what was read: a mapping, a network, or an object of a trainer that was unpickled.
    """
    places = list(_mappings(data, _DEEPEST))
    labels, labels_from = _labels(data, places)
    facts = Facts(arch=_arch(places), labels=labels, labels_from=labels_from)
    top = dict(places[0][1]) if places else {}
    args = _mapping(top.get("args"))
    if args is not None and "val_crop_size" in args and isinstance(args.get("model"), str):
        return replace(_of_torchvision(facts, args), arch=str(args["model"]))
    if isinstance(top.get("arch"), str) and "version" in top and args is not None and "model" in args:
        return _of_timm(replace(facts, arch=str(top["arch"])), args)
    if isinstance(top.get("train_args"), Mapping) and _network(top) is not None:
        return _of_ultralytics(facts, top)
    size, size_from = _size(places)
    mean, std = _mean(places)
    return replace(facts, size=size, size_from=size_from, mean=mean, std=std)


def _network(top: Mapping[str, Any]) -> torch.nn.Module | None:
    import torch

    return next((top[key] for key in ("ema", "model") if isinstance(top.get(key), torch.nn.Module)), None)


def _of_torchvision(facts: Facts, args: Mapping[str, Any]) -> Facts:
    """The classification reference of torchvision: its preset for evaluation."""
    crop, resize = args.get("val_crop_size"), args.get("val_resize_size")
    if not _is_edge(crop) or not _is_edge(resize):
        return replace(facts, trainer=TORCHVISION)
    base = imagenet_preprocess(int(cast("int", crop)), int(cast("int", resize)))
    interpolation = _interpolation(args.get("interpolation")) or base.interpolation
    return replace(facts, trainer=TORCHVISION, preprocess=replace(base, interpolation=interpolation))


def _of_timm(facts: Facts, args: Mapping[str, Any]) -> Facts:
    """timm's training script, whose arguments are None where the network's own configuration holds."""
    size, size_from = _size([("args", args)])
    mean, std = _mean([("args", args)])
    share = args.get("crop_pct")
    return replace(
        facts,
        trainer=TIMM,
        size=size,
        size_from=size_from,
        mean=mean,
        std=std,
        interpolation=_interpolation(args.get("interpolation")),
        share=float(share) if isinstance(share, int | float) and 0 < share <= 1 else None,
    )


def _of_ultralytics(facts: Facts, top: Mapping[str, Any]) -> Facts:
    """Ultralytics' networks for classification: shortest edge, centre crop, and no normalisation."""
    size, size_from = _size([("train_args", top["train_args"])])
    preprocess = ultralytics_preprocess(size[0] if size else 224)
    return replace(facts, trainer=ULTRALYTICS, size=size, size_from=size_from, preprocess=preprocess)


def ultralytics_preprocess(edge: int) -> Preprocess:
    """What Ultralytics does to an image that is classified."""
    return Preprocess(edge, "bilinear", (edge, edge), "RGB", (0.0,) * 3, (1.0,) * 3)


def _mapping(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return vars(value)
    if isinstance(value, Mapping):
        # Objects of classes that are not imported are read as an empty mapping with their attributes.
        own = getattr(value, "__dict__", None)
        return value if value or not own else {str(key): _node(item) for key, item in _content(own).items()}
    return None


def _content(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an object holds; OmegaConf keeps it one level down."""
    inner = attributes.get("_content")
    return inner if isinstance(inner, Mapping) else attributes


def _node(item: Any) -> Any:
    """A value, or what a node of OmegaConf's holds."""
    own = getattr(item, "__dict__", None)
    return own["_val"] if isinstance(item, Mapping) and not item and own and "_val" in own else item


def _mappings(data: Any, depth: int, above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = _mapping(data)
    if found is None or not depth:
        return
    yield above, found
    for key in _PLACES:
        if key in found:
            yield from _mappings(found[key], depth - 1, f"{above}{key}.")


def _labels(
    data: Any, places: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[tuple[str, ...] | None, str | None]:
    import torch

    holders = list(places)
    top = places[0][1] if places else {}
    networks = [data, *(top.get(key) for key in ("ema", "model"))]
    holders += [
        ("model.", {key: getattr(network, key, None) for key in KEYS})
        for network in networks
        if isinstance(network, torch.nn.Module)
    ]
    for above, mapping in holders:
        for key in KEYS:
            value = mapping.get(key)
            if isinstance(value, Mapping | list | tuple) and value:
                try:
                    names = names_in(value)
                except UsageError:
                    continue
                if names and not any(isinstance(item, torch.Tensor) for item in value):
                    return names, f"{above}{key}"
    return None, None


def _arch(places: Sequence[tuple[str, Mapping[str, Any]]]) -> str | None:
    found = (mapping.get(key) for _, mapping in places for key in _ARCH)
    return next((value for value in found if isinstance(value, str) and value), None)


def _size(places: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[tuple[int, int] | None, str | None]:
    for above, mapping in places:
        for key in _SIZES:
            value: Any = mapping.get(key)
            if _is_edge(value):
                return (int(value), int(value)), f"{above.removesuffix('.')}.{key}".lstrip(".")
            if isinstance(value, list | tuple) and len(value) in (2, 3) and all(map(_is_edge, value[-2:])):
                return (int(value[-2]), int(value[-1])), f"{above.removesuffix('.')}.{key}".lstrip(".")
    return None, None


def _is_edge(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= _LARGEST


def _mean(
    places: Sequence[tuple[str, Mapping[str, Any]]],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    for _, mapping in places:
        for names in _MEANS:
            values: list[Any] = [mapping.get(name) for name in names]
            if all(_is_channel_list(value) for value in values) and len(values[0]) == len(values[1]):
                mean, std = (tuple(map(float, value)) for value in values)
                if all(std):
                    return mean, std
    return None, None


def _is_channel_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) in (1, 3)
        and all(isinstance(each, int | float) and 0 <= each <= 1 for each in value)
    )


def _interpolation(value: Any) -> Interpolation | None:
    return cast("Interpolation", value) if value in get_args(Interpolation) else None
