"""Darknet's `.weights` files: a header, and the numbers of each convolution in the order of the layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinnace.models.errors import CheckFailed, SourceError
from pinnace.models.networks.layers import Conv, Table, numbers

if TYPE_CHECKING:
    import torch

_VERSION = np.dtype([("major", "<i4"), ("minor", "<i4"), ("revision", "<i4")])


def load_weights(module: torch.nn.Module, table: Table, path: Path) -> None:
    """Fill a network with a file's weights.

    Of each convolution the file has the biases; then, unless it is linear, the factors, running means and
    running variances of its normalisation; then the weights, [filters, channels, size, size].

    Args:
        module: what `layers.build` made of the table.
        table: the layers.
        path: the file.

    Raises:
        SourceError: the file is no such file, or of another network.
        CheckFailed: a weight is NaN or infinite.
    """
    import torch

    data, wanted = _read(path), numbers(table)
    if len(data) != wanted:
        raise SourceError(
            f"{path} does not fit the network",
            expected=f"{wanted} numbers",
            got=str(len(data)),
            hint="check the network's name and --num-classes",
        )
    if not np.isfinite(data).all():
        raise CheckFailed(f"the weights in {path} are not finite: they hold NaN or infinity")
    rest = torch.from_numpy(data)
    layers: Any = module.layers
    with torch.no_grad():
        for layer, part in zip(table, layers, strict=True):
            if not isinstance(layer, Conv):
                continue
            if layer.linear:
                tensors = [part.conv.bias]
            else:
                tensors = [part.norm.bias, part.norm.weight, part.norm.running_mean, part.norm.running_var]
            for tensor in (*tensors, part.conv.weight):
                tensor.copy_(rest[: tensor.numel()].reshape(tensor.shape))
                rest = rest[tensor.numel() :]


def _read(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    raw = path.read_bytes()
    if len(raw) < _VERSION.itemsize + 4:
        raise SourceError(f"{path} is not a Darknet weights file: it is too short")
    version = np.frombuffer(raw, _VERSION, 1)[0]
    if not (0 <= version["major"] < 1000 and 0 <= version["minor"] < 1000):
        raise SourceError(f"{path} is not a Darknet weights file: its version is out of range")
    # Since 0.2 the number of images seen in training has 64 bits.
    seen = 8 if version["major"] * 10 + version["minor"] >= 2 else 4
    body = raw[_VERSION.itemsize + seen :]
    if len(body) % 4:
        raise SourceError(f"{path} is not a Darknet weights file: it is cut off")
    return np.frombuffer(body, "<f4").astype(np.float32)
