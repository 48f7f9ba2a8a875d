"""What a network returns becomes named tensors."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch

from pinnace.export.worker.eager_model import flatten

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
