"""What a network returns becomes named tensors."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pinnace.export.worker.eager_model import flatten, keep_rows, model_function
from pinnace.models.errors import SourceError
from support.errors import refusal

A, B, C = torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 4)
Result = namedtuple("Result", ["logits", "hidden"])


@dataclass
class Answer:
    logits: torch.Tensor
    loss: torch.Tensor | None = None
    hidden: tuple[torch.Tensor, ...] | None = None


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (A, {"logits": A}),
        ([A], {"logits": A}),
        ((A, None), {"logits": A}),
        ((A, B), {"output_0": A, "output_1": B}),
        ((A, (B, C)), {"output_0": A, "output_1_0": B, "output_1_1": C}),
        (Result(A, B), {"logits": A, "hidden": B}),
        (OrderedDict(logits=A, loss=None), {"logits": A}),
        ({"out": {"main": A, "aux": [B]}}, {"out_main": A, "out_aux_0": B}),
        (Answer(A, hidden=(B, C)), {"logits": A, "hidden_0": B, "hidden_1": C}),
    ],
)
def test_named_tensors(result: object, names: dict[str, torch.Tensor]) -> None:
    found = flatten(result)
    assert list(found) == list(names)
    assert all(found[name] is tensor for name, tensor in names.items())


def test_a_detector_is_told_to_be_one() -> None:
    """As torchvision's answer: a list with boxes for each image."""
    assert refusal(SourceError, flatten, [{"boxes": torch.ones(0, 4), "scores": torch.ones(0)}]) == (
        "the network detects objects: it answers with another number of boxes for each image, which a bundle "
        "cannot hold"
    )


class OneByOne(torch.nn.Module):
    """Gives each image an answer of its own, in a list."""

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        return [{"mean": image.mean(), "most": image.amax()} for image in images]


def test_a_list_with_an_answer_for_each_image_is_no_row_that_was_squeezed() -> None:
    module = OneByOne().eval()
    feeds = {"input": np.ones((1, 3, 4, 4), np.float32)}
    assert keep_rows(module, model_function(module, hint=""), feeds) is None
