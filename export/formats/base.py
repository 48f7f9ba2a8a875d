"""What a format is: a name, a file suffix, and a function that writes the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.models.signature import Signature

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Graph:
    """What a format writes: a network, an example of its inputs, and their names.

    Attributes:
        module: the network in eval mode; its forward takes `*inputs` and gives a tensor or a tuple.
        example: one tensor per input, batch 2 where there is a batch.
        signature: names, dtypes and shapes.
        opset: ONNX opset.
    """

    module: torch.nn.Module
    example: tuple[torch.Tensor, ...]
    signature: Signature
    opset: int


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        name: what stands before the dash in a variant's name.
        suffix: of the file.
        precisions: which precisions it can be written in.
        packages: distributions whose versions go into the manifest.
        write: writes the graph to a file.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    write: Callable[[Graph, Path], None]
