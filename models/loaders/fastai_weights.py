"""What fastai's `Learner.save` writes: weights of a body without its last layer, and of fastai's own head.

The names are places in two sequences, `0` the body and `1` the head. The layers that have no weights are
those that fastai's `create_head` puts between the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import UsageError
from pinnace.models.loaders.base import LoadedModel, LoadRequest, imagenet_preprocess, with_channels
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.recognise import bodies_of

if TYPE_CHECKING:
    import torch

_BODY, _HEAD = "0.", "1."

# Where the layers of a ResNet are among its children; those of other networks stand under `features`.
_RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_OF_RESNET, _OF_FEATURES, _OF_TIMM = 8, 1, 0

_LAYER = re.compile(r"1\.(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FastaiNetwork:
    """What the names and shapes of a fastai checkpoint show.

    Attributes:
        arch: the network whose body it is, as `--arch` has it; None where it is not known.
        classes: rows of the head's last layer.
        children: how many of that network's children the body has; 0 for a network of timm.
    """

    arch: str | None
    classes: int
    children: int


def recognise_fastai(state: Mapping[str, Any]) -> FastaiNetwork | None:
    """The network of `Learner.save`'s weights, or None where these are not such weights."""
    shapes = {str(name): tuple(getattr(value, "shape", ())) for name, value in state.items()}
    head = {name: shape for name, shape in shapes.items() if name.startswith(_HEAD)}
    rows = [shape[0] for name, shape in head.items() if name.endswith(".weight") and len(shape) == 2]
    if not rows or not all(map(_LAYER.fullmatch, head)):
        return None
    if any(not name.startswith((_BODY, _HEAD)) for name in shapes) or len(head) == len(shapes):
        return None
    body = {name.removeprefix(_BODY): shape for name, shape in shapes.items() if name not in head}
    readings: tuple[tuple[int, str, Callable[[str], str]], ...] = (
        (_OF_TIMM, "timm", lambda name: name.removeprefix("model.")),
        (_OF_RESNET, "torchvision", _resnet_name),
        (_OF_FEATURES, "torchvision", lambda name: name.replace("0.", "features.", 1)),
    )
    for children, kind, rename in readings:
        renamed = {rename(name): shape for name, shape in body.items()}
        for arch in bodies_of(renamed):
            if arch.startswith(f"{kind}:"):
                return FastaiNetwork(arch, rows[-1], children)
    return FastaiNetwork(None, rows[-1], 0)


def _resnet_name(name: str) -> str:
    first, dot, rest = name.partition(".")
    return _RESNET.get(first, first) + dot + rest


def load_fastai(
    request: LoadRequest, state: Mapping[str, Any], found: FastaiNetwork, path: Path
) -> LoadedModel:
    """Build the body and the head, and fill them.

    Raises:
        UsageError: the body belongs to no network that is known.
        SourceError: the weights do not fit.
    """
    import torch

    if found.arch is None:
        raise UsageError(
            f"{request.source} holds weights of a fastai Learner with {found.classes} classes, whose network "
            "is not known by its names",
            hint="in fastai, learn.export('model.pkl') writes the network with it; then: pinnace export "
            f"file:{path.with_name('model.pkl')} --trust",
        )
    first = next(value for value in state.values() if getattr(value, "ndim", 0) == 4)
    channels = int(first.shape[1])
    network = torch.nn.Sequential(_body(found, channels), _head(state))
    left_out = fit_weights(network, state, path)
    note = (
        f"the names and shapes of the weights are those of a fastai Learner: the body of {found.arch}, and "
        f"fastai's head with {found.classes} classes; --arch says otherwise"
    )
    # Its `Resize(224)` brings the shortest edge to what is cropped, and no further.
    customary = imagenet_preprocess(224, resize=224)
    loaded = LoadedModel(network, customary, notes=(note, *left_out), assumed_for="fastai")
    return with_channels(loaded, None if channels == 3 else channels)


def _body(found: FastaiNetwork, channels: int) -> torch.nn.Module:
    import torch

    assert found.arch is not None
    name = found.arch.partition(":")[2]
    if found.children == _OF_TIMM:
        return _timm_body(name, channels)
    import torchvision

    network = torchvision.models.get_model(name, weights=None)
    body = torch.nn.Sequential(*list(network.children())[: found.children])
    if channels != 3:
        place, layer = next((n, m) for n, m in body.named_modules() if isinstance(m, torch.nn.Conv2d))
        parent, _, last = place.rpartition(".")
        mine = torch.nn.Conv2d(
            channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
        )
        setattr(body.get_submodule(parent), last, mine)
    return body


def _timm_body(name: str, channels: int) -> torch.nn.Module:
    import timm
    import torch

    network: Any = timm.create_model(name, num_classes=0, in_chans=channels)

    class Body(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network

        def forward(self, x: torch.Tensor) -> Any:
            return self.model.forward_features(x)

    return Body()


def _head(state: Mapping[str, Any]) -> torch.nn.Module:
    """fastai's head: what has weights is where the names say, and between that is what fastai puts there."""
    import torch

    layers: dict[int, dict[str, Shape]] = {}
    for name, value in state.items():
        if match := _LAYER.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = tuple(value.shape)
    first = min(layers)
    body = [value for name, value in state.items() if name.startswith(_BODY) and value.ndim == 4]
    parts: list[torch.nn.Module] = []
    if first >= 2:
        # Pooled in both ways, the head reads twice as many numbers as the body gives.
        width = next(iter(layers[first].values()))[-1]
        parts = [_pool(both=width % 2 == 0 and width != body[-1].shape[0]), torch.nn.Flatten()]
    for place in range(len(parts), max(layers) + 1):
        shapes = layers.get(place)
        if shapes is None:
            after_linear = isinstance(parts[-1] if parts else None, torch.nn.Linear)
            parts.append(torch.nn.ReLU() if after_linear else torch.nn.Identity())
        elif "running_mean" in shapes:
            parts.append(torch.nn.BatchNorm1d(shapes["running_mean"][0]))
        else:
            rows, columns = shapes["weight"]
            parts.append(torch.nn.Linear(columns, rows, bias="bias" in shapes))
    return torch.nn.Sequential(*parts)


def _pool(*, both: bool) -> torch.nn.Module:
    import torch

    class MaxAndMean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.amax(x, (2, 3)), torch.mean(x, (2, 3))], 1)

    return MaxAndMean() if both else torch.nn.AdaptiveAvgPool2d(1)
