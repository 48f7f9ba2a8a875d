"""A network of two heads whose weights are a formula, and the same as a `.tflite` file beside this one.

`python -m support.two_heads`, in `tests/`, writes the file again; docs/edge.md has what that needs.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pinnace.export.formats import all_formats
from pinnace.export.formats.base import Graph
from pinnace.export.worker.eager_model import flat_module
from pinnace.models.bundle.signature import Signature, TensorSpec

SHAPE = (3, 15, 17)
SIGNATURE = Signature(
    (TensorSpec("image", "float32", ("batch", *SHAPE)),),
    (TensorSpec("logits", "float32", ("batch", 5)), TensorSpec("map", "float32", ("batch", 4, 13, 15))),
)
FILES = {"litert": Path(__file__).parent / "two_heads.tflite"}


class TwoHeads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4, 5)
        with torch.no_grad():
            for tensor in self.parameters():
                tensor.copy_(torch.arange(1.0, tensor.numel() + 1).reshape(tensor.shape).sin() / 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.stem(x))
        return self.head(features.mean((2, 3))), features


def graph(precision: str = "fp32") -> Graph:
    """What a format is given of it."""
    network = TwoHeads().eval()
    return Graph(flat_module(network), (torch.zeros(2, *SHAPE),), SIGNATURE, 18, precision)


if __name__ == "__main__":
    for name, path in FILES.items():
        all_formats()[name].write(graph(), path)
