"""Which weights of a checkpoint are taken: those of the trainer's own loader, or those of `--weights`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pinnace.models.errors import UsageError
from pinnace.models.loaders.state_dict import find_weights
from support.errors import refusal

PATH = Path("net.pt")
PLAIN, AVERAGED = nn.Linear(3, 2).state_dict(), nn.Linear(3, 2).state_dict()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"state_dict": PLAIN, "state_dict_ema": AVERAGED}, "state_dict_ema"),  # timm
        ({"model": PLAIN, "model_ema": AVERAGED}, "model_ema"),  # torchvision's references
        ({"model": nn.Linear(3, 2), "ema": nn.Linear(3, 2)}, "ema"),  # Ultralytics
        ({"model": PLAIN, "ema": {"module": AVERAGED}}, "ema.module"),  # RT-DETR
    ],
)
def test_averaged_weights_that_the_trainers_own_loader_takes(content: dict[str, object], place: str) -> None:
    first = next(iter(content))
    found, (note,) = find_weights(content, PATH)
    assert note.startswith(f"the weights were taken from {place!r}; the file also holds {first!r}")
    expected = content[place.partition(".")[0]]
    assert found is (expected["module"] if place.endswith(".module") else expected)  # type: ignore[index]
    plain, (note,) = find_weights(content, PATH, first)
    assert plain is content[first]
    assert note == f"the weights were taken from {first!r}; the file also holds {place!r}"


def test_mmengine_keeps_the_plain_weights_under_the_name_of_averaged_ones() -> None:
    found, _ = find_weights({"meta": {}, "state_dict": AVERAGED, "ema_state_dict": PLAIN}, PATH)
    assert found is AVERAGED


def test_weights_in_a_place_that_nobody_knows_are_told_too() -> None:
    found, (note,) = find_weights({"model": PLAIN, "swa_state_dict": AVERAGED, "epoch": 3}, PATH)
    assert found is PLAIN
    assert note == "the weights were taken from 'model'; the file also holds 'swa_state_dict'"
    averaged, _ = find_weights({"model": PLAIN, "swa_state_dict": AVERAGED}, PATH, "ema")
    assert averaged is AVERAGED


def test_what_is_empty_is_passed_over() -> None:
    network = nn.Linear(3, 2)
    assert find_weights({"model": None, "ema": network, "optimizer": None}, PATH)[0] is network


def test_ema_means_averaged_weights_wherever_they_are() -> None:
    assert find_weights({"model": PLAIN, "ema": AVERAGED}, PATH)[0] is PLAIN
    assert find_weights({"model": PLAIN, "ema": AVERAGED}, PATH, "ema")[0] is AVERAGED
    assert find_weights({"model": PLAIN, "params_ema": AVERAGED}, PATH, "ema")[0] is AVERAGED
    state = {f"net.{name}": value for name, value in PLAIN.items()}
    state |= {f"ema_net.{name}": value for name, value in AVERAGED.items()}
    for wanted in ("ema", "ema_net"):
        found, notes = find_weights({"state_dict": state}, PATH, wanted)
        assert list(found) == ["ema_net.weight", "ema_net.bias"]  # type: ignore[arg-type]
        assert notes == ("the weights were taken from the names that begin with 'ema_net.'",)


def test_any_place_can_be_named() -> None:
    content = {"generator": {"weights": PLAIN}, "discriminator": {"weights": AVERAGED}}
    assert find_weights(content, PATH, "discriminator.weights")[0] is AVERAGED


def test_weights_that_are_not_there() -> None:
    assert refusal(UsageError, lambda: find_weights({"model": PLAIN, "net": AVERAGED}, PATH, "ema")) == (
        "net.pt holds no weights 'ema'\n  expected: one of model, net\n  help: leave --weights out"
    )


def test_several_sets_and_nothing_that_says_which() -> None:
    assert refusal(UsageError, lambda: find_weights({"one": PLAIN, "two": AVERAGED}, PATH)) == (
        "net.pt holds several sets of weights, and nothing says which are the network's\n"
        "  expected: --weights with one of one, two\n  help: --weights one"
    )
    assert torch.equal(
        find_weights({"one": PLAIN, "two": AVERAGED}, PATH, "two")[0]["weight"], AVERAGED["weight"]
    )  # type: ignore[index]
