"""What weights show of the torchvision network that they were made for, and a state_dict does not say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pinnace.models.loaders.shapes import compare, on_meta
from pinnace.models.loaders.transform_input import FIRST_LAYERS, was_transformed

if TYPE_CHECKING:
    import torch

# Parts of a network that only training has, and the option that builds them.
_TRAINING_PARTS = {"inception_v3": ("AuxLogits", "aux_logits"), "googlenet": ("aux1", "aux_logits")}
_SEGMENTATION_PART = ("aux_classifier", "aux_loss")


def read_off(
    name: str,
    state: Mapping[str, Any],
    given: dict[str, Any],
    build: Callable[[], torch.nn.Module],
    notes: list[str],
) -> int | None:
    """Add to a builder's arguments what the weights show.

    That is the number of classes, the parts that are there in training only, the image size of a vision
    transformer, and whether inception_v3 and googlenet transform their input.

    Args:
        name: torchvision's name.
        state: the weights; their names may have a prefix.
        given: the arguments; what the user gave stays.
        build: builds the network with `given` as it is then.
        notes: where a sentence for each finding goes.

    Returns:
        The channels of the image, where they are not the builder's.
    """
    part, option = _TRAINING_PARTS.get(name, _SEGMENTATION_PART)
    if name in _TRAINING_PARTS or "weights_backbone" in given:
        given.setdefault(option, any(f".{part}." in f".{key}" for key in state))
    if name in FIRST_LAYERS and "transform_input" not in given:
        given["transform_input"] = _transforms(name, state, notes)
    if name.startswith("vit_"):
        given.update(_vit_size(state))  # before the shapes are compared, which depend on it
    shapes = compare(on_meta(build), state)
    if shapes.num_classes is not None and "num_classes" not in given:
        given["num_classes"] = shapes.num_classes
        notes.append(f"{shapes.num_classes} classes, by the shape of {shapes.head}")
    if shapes.channels is not None:
        word = "channel" if shapes.channels == 1 else "channels"
        notes.append(f"the network takes images of {shapes.channels} {word}, by the shape of {shapes.stem}")
    return shapes.channels


def _transforms(name: str, state: Mapping[str, Any], notes: list[str]) -> bool:
    transformed = was_transformed(name, state)
    if transformed is None:
        notes.append(
            f"it cannot be seen whether {name} was trained with transform_input, as torchvision does when it "
            "starts from its own weights: False is assumed, and --arg transform_input=True says otherwise"
        )
        return False
    notes.append(
        f"transform_input={transformed}, by the statistics of the first layer; "
        f"--arg transform_input={not transformed} says otherwise"
    )
    return transformed


def _vit_size(state: Mapping[str, Any]) -> dict[str, int]:
    """The image size that the position embedding of a vision transformer was made for."""
    ends = {"pos_embedding": "encoder.pos_embedding", "patch": "conv_proj.weight"}
    shapes = {
        what: tuple(value.shape)
        for what, end in ends.items()
        for key, value in state.items()
        if key.endswith(end) and hasattr(value, "shape")
    }
    if [len(shapes.get(what, ())) for what in ends] != [3, 4]:
        return {}
    patches, edge = shapes["pos_embedding"][1] - 1, shapes["patch"][2]
    side = math.isqrt(max(patches, 0))
    return {"image_size": side * edge} if side * side == patches else {}


def replace_first_layer(module: torch.nn.Module, channels: int) -> None:
    """Give a network a first convolution that takes so many channels."""
    import torch

    for parent in module.modules():
        for key, layer in parent.named_children():
            if isinstance(layer, torch.nn.Conv2d):
                made: Any = torch.nn.Conv2d
                new = made(
                    channels,
                    layer.out_channels,
                    layer.kernel_size,
                    layer.stride,
                    layer.padding,
                    layer.dilation,
                    layer.groups,
                    layer.bias is not None,
                    layer.padding_mode,
                )
                setattr(parent, key, new)
                return
