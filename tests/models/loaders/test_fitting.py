"""Weights are put into a network by torch's own `load_state_dict`, whatever stands before their names."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from pinnace.models.errors import SourceError
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.state_dict import find_weights
from support.errors import refusal

PATH = Path("net.pt")


def small_vit() -> nn.Module:
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=3
    )


def weight_normed() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    return nn.Sequential(layer, nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def random_state(network: nn.Module) -> OrderedDict[str, Any]:
    torch.manual_seed(3)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.5)
    state = network.state_dict()
    assert isinstance(state, OrderedDict)
    return state


def saved(state: object, folder: Path) -> Any:
    """The state as it comes back from a file."""
    torch.save(state, folder / "net.pt")
    return torch.load(folder / "net.pt", weights_only=True)


def assert_same(first: nn.Module, second: nn.Module, size: int = 32) -> None:
    inputs = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(first.eval()(inputs), second.eval()(inputs))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net._orig_mod."])
def test_old_names_of_a_vision_transformer(tmp_path: Path, prefix: str) -> None:
    network, other = small_vit(), small_vit()
    old = OrderedDict(
        (prefix + name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."), value)
        for name, value in random_state(network).items()
    )
    assert fit_weights(other, saved(old, tmp_path), PATH) == ()
    assert_same(network, other)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weight_norm_from_before_parametrizations(tmp_path: Path, prefix: str) -> None:
    network, other = weight_normed(), weight_normed()
    renamed = {"original0": "weight_g", "original1": "weight_v"}
    old = OrderedDict()
    for name, value in random_state(network).items():
        for new, word in renamed.items():
            name = name.replace(f"parametrizations.weight.{new}", word)
        old[prefix + name] = value
    assert f"{prefix}0.weight_g" in old
    assert fit_weights(other, saved(old, tmp_path), PATH) == ()
    assert_same(network, other)


@pytest.mark.slow
def test_networks_that_look_at_the_version_of_a_state_dict(tmp_path: Path) -> None:
    # MNASNet refuses a state_dict that has no version.
    network, other = (torchvision.models.mnasnet0_5(num_classes=3) for _ in range(2))
    parallel = nn.DataParallel(network)
    random_state(network)
    assert fit_weights(other, saved(parallel.state_dict(), tmp_path), PATH) == ()
    assert_same(network, other)
    plain = {name: value for name, value in network.state_dict().items()}  # noqa: C416 -- without the version
    assert fit_weights(torchvision.models.mnasnet0_5(num_classes=3), plain, PATH) == ()


def test_lazy_layers_take_their_size_from_the_weights() -> None:
    def lazy() -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))

    network, other = lazy(), lazy()
    network(torch.randn(1, 3, 8, 8))
    assert fit_weights(other, network.state_dict(), PATH) == ()
    assert_same(network, other)


class Counting(nn.Module):
    """Keeps something in its state that is not a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.seen = nn.Linear(3, 3), 0

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": self.seen}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def test_state_that_is_no_tensor_is_handed_to_the_layer_it_belongs_to(tmp_path: Path) -> None:
    network, other = nn.Sequential(Counting()), nn.Sequential(Counting())
    network[0].seen = 7
    state, notes = find_weights({"model": saved(network.state_dict(), tmp_path)}, PATH)
    assert fit_weights(other, state, PATH) == ()  # type: ignore[arg-type]
    assert (other[0].seen, notes) == (7, ("the weights were taken from 'model'",))


def test_values_beside_the_tensors_are_named() -> None:
    network = nn.Linear(3, 2)
    state = {**nn.Linear(3, 2).state_dict(), "mean": torch.ones(3), "epoch": 3}
    message = refusal(SourceError, lambda: fit_weights(network, state, PATH))
    assert message.startswith("net.pt does not fit the network: 1 unexpected (mean [3])")
    del state["mean"]
    assert fit_weights(network, state, PATH) == ("left out of the checkpoint: 1 (epoch)",)


def test_arrays_of_numpy_are_weights() -> None:
    network = nn.Linear(3, 2)
    state, _ = find_weights({name: value.numpy() for name, value in network.state_dict().items()}, PATH)
    other = nn.Linear(3, 2)
    fit_weights(other, state, PATH)  # type: ignore[arg-type]
    assert torch.equal(other.weight, network.weight)
    assert isinstance(network.state_dict()["weight"].numpy(), np.ndarray)


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "module.model.", "model._orig_mod."])
def test_a_loss_beside_the_network_is_left_out_and_named(prefix: str) -> None:
    network, other = weight_normed(), weight_normed()
    state = {prefix + name: value for name, value in random_state(network).items()}
    state |= {"criterion.weight": torch.ones(3), "train_acc.tp": torch.tensor(3)}
    assert fit_weights(other, state, PATH) == (
        f"the weights were taken from the names that begin with {prefix!r}; "
        "left out of the checkpoint: 2 (criterion.weight, train_acc.tp)",
    )
    assert_same(network, other)


def test_a_loss_beside_names_without_a_prefix_is_left_out_and_named() -> None:
    network, other = weight_normed(), weight_normed()
    state = {**random_state(network), "criterion.weight": torch.ones(3), "total_ops": torch.ones(1)}
    assert fit_weights(other, state, PATH) == ("left out of the checkpoint: 1 (criterion.weight)",)
    assert_same(network, other)


def test_layers_that_the_network_does_not_have_are_not_left_out() -> None:
    # Every weight of a ResNet-18 is among those of a ResNet-34, with the same shape.
    with torch.device("meta"):
        deeper = torchvision.models.resnet34()
    state = {name: torch.zeros(value.shape) for name, value in deeper.state_dict().items()}
    message = refusal(SourceError, lambda: fit_weights(torchvision.models.resnet18(), state, PATH))
    assert message.startswith(
        "net.pt does not fit the network: 96 unexpected (layer1.2.conv1.weight [64,64,3,3]"
    )


def test_of_two_networks_in_one_state_the_plain_one_is_taken() -> None:
    network, other = weight_normed(), weight_normed()
    state = {f"model_ema.{name}": value * 0 for name, value in network.state_dict().items()}
    state |= {f"model.{name}": value for name, value in random_state(network).items()}
    (note,) = fit_weights(other, state, PATH)
    assert note.startswith("the weights were taken from the names that begin with 'model.'; left out of ")
    assert_same(network, other)


def test_a_network_within_the_one_that_arch_builds() -> None:
    inner = weight_normed()
    outer = nn.ModuleDict({"model": weight_normed()})
    assert fit_weights(outer, random_state(inner), PATH) == ()
    assert_same(inner, outer["model"])


@pytest.mark.slow
def test_the_names_of_the_authors_of_a_timm_network() -> None:
    import timm

    network, other = (timm.create_model("test_vit", num_classes=3) for _ in range(2))
    assert fit_weights(other, {"model": 3, **random_state(network)}, PATH) == (
        "left out of the checkpoint: 1 (model)",
    )
    assert_same(network, other, 160)


def test_weights_of_a_quantised_network_are_told() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    state = {
        "0.scale": torch.ones(()),
        "0.zero_point": torch.zeros(()),
        "0._packed_params.dtype": torch.qint8,
    }
    message = refusal(SourceError, fit_weights, network, state, PATH)
    assert "  help: these are the weights of a quantised network: save those from before" in message
