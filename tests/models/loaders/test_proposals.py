"""Weights without `--arch`: the network that they fit is taken, or the command that says which."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from pinnace.models.errors import UsageError
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.file import snippet
from pinnace.models.loaders.recognise import TABLE, recognise
from pinnace.models.source import Source
from support.errors import refusal

pytestmark = pytest.mark.slow

TAKEN = (
    "the names and shapes of the weights are those of torchvision:squeezenet1_1 with 4 classes, which was "
    "taken"
)


def load_saved(content: object, where: Path, **options: object) -> LoadedModel:
    torch.save(content, where / "net.pth")
    loaded = load(LoadRequest(Source("file", str(where / "net.pth")), **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


def assert_same(first: nn.Module, second: nn.Module, channels: int = 3) -> None:
    inputs = torch.randn(2, channels, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(first.eval()(inputs), second.eval()(inputs))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model._orig_mod."])
def test_the_one_network_that_fits_is_taken(tmp_path: Path, prefix: str) -> None:
    trained = torchvision.models.squeezenet1_1(num_classes=4)
    state = {prefix + name: value for name, value in trained.state_dict().items()}
    if prefix:
        state["criterion.weight"] = torch.ones(4)
    loaded = load_saved({"state_dict": state}, tmp_path)
    assert_same(loaded.module, trained)
    assert loaded.notes[1].startswith(TAKEN)
    assert ("left out of the checkpoint: 1 (criterion.weight)" in " ".join(loaded.notes)) == bool(prefix)


def test_a_resnet_is_torchvisions_and_what_else_it_could_be_is_told(tmp_path: Path) -> None:
    trained = torchvision.models.resnet18(num_classes=7)
    loaded = load_saved(trained.state_dict(), tmp_path)
    assert_same(loaded.module, trained)
    assert loaded.notes == (
        "the names and shapes of the weights are those of torchvision:resnet18 with 7 classes, which was "
        "taken, and also of timm:resnetblur18, which would answer differently; --arch says otherwise",
        "7 classes, by the shape of fc.weight",
    )


def test_networks_that_answer_the_same_are_no_choice(tmp_path: Path) -> None:
    trained = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    assert [match.arch for match in recognise(trained.state_dict())] == [
        "timm:deit_tiny_patch16_224",
        "timm:vit_tiny_patch16_224",
    ]
    loaded = load_saved(trained.state_dict(), tmp_path)
    inputs = torch.randn(1, 3, 224, 224)
    assert torch.allclose(loaded.module(inputs), trained.eval()(inputs), atol=1e-5)


@pytest.mark.parametrize("name", ["levit_128s", "efficientformer_l1"])
def test_a_network_of_two_heads_is_known_with_other_classes(tmp_path: Path, name: str) -> None:
    trained = timm.create_model(name, num_classes=3)
    loaded = load_saved(trained.state_dict(), tmp_path)
    assert loaded.notes[0].startswith(
        f"the names and shapes of the weights are those of timm:{name} with 3 classes, which was taken"
    )
    inputs = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module.eval()(inputs), trained.eval()(inputs))


def test_networks_that_answer_differently_are(tmp_path: Path) -> None:
    trained = timm.create_model("efficientnet_b0", num_classes=3)
    assert refusal(UsageError, lambda: load_saved(trained.state_dict(), tmp_path)) == (
        f"the names and shapes in {tmp_path}/net.pth are those of 3 networks, which answer differently\n"
        "  expected: --arch with one of timm:efficientnet_b0, timm:efficientnet_blur_b0, "
        "timm:tf_efficientnet_b0\n"
        "  help: say which one you trained, for example --arch timm:efficientnet_b0 --num-classes 3"
    )


def test_the_name_in_the_checkpoint_decides(tmp_path: Path) -> None:
    trained = timm.create_model("tf_efficientnet_b0", num_classes=3)
    loaded = load_saved({"arch": "tf_efficientnet_b0", "state_dict": trained.state_dict()}, tmp_path)
    assert "those of timm:tf_efficientnet_b0 with 3 classes" in loaded.notes[1]
    assert_same(loaded.module, trained)


def test_grey_and_another_number_of_classes(tmp_path: Path) -> None:
    trained = torchvision.models.squeezenet1_1(num_classes=4)
    trained.features[0] = nn.Conv2d(1, 64, 3, 2)
    loaded = load_saved(trained.state_dict(), tmp_path)
    assert_same(loaded.module, trained, 1)
    assert loaded.preprocess is not None
    assert loaded.preprocess.color == "L"


def test_names_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    trained = torchvision.models.squeezenet1_1(num_classes=4)
    as_safetensors_has_them = dict(sorted(trained.state_dict().items()))
    assert next(iter(as_safetensors_has_them)) == "classifier.1.bias"
    assert_same(load_saved(as_safetensors_has_them, tmp_path).module, trained)
    replaced = torchvision.models.mobilenet_v2()
    replaced.classifier = nn.Linear(1280, 4)
    assert_same(load_saved(dict(sorted(replaced.state_dict().items())), tmp_path).module, replaced)


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(512, 5),
        nn.Sequential(nn.Dropout(), nn.Linear(512, 5)),
        nn.Sequential(nn.Linear(512, 5, False)),
    ],
)
def test_a_last_layer_within_a_sequence(tmp_path: Path, head: nn.Module) -> None:
    trained = torchvision.models.resnet18()
    trained.fc = head
    loaded = load_saved(trained.state_dict(), tmp_path, arch=None)
    assert_same(loaded.module, trained)
    assert loaded.labels is None


def test_a_classifier_that_was_replaced_whole(tmp_path: Path) -> None:
    trained = torchvision.models.mobilenet_v2()
    trained.classifier = nn.Linear(1280, 4)
    loaded = load_saved(trained.state_dict(), tmp_path)
    assert_same(loaded.module, trained)
    assert loaded.notes == (
        "the names and shapes of the weights are those of torchvision:mobilenet_v2, with 4 classes from a "
        "linear layer classifier, before which nothing but dropout is assumed; --arch says otherwise",
    )


@pytest.mark.parametrize("beside", [(), ("data_preprocessor.mean", "data_preprocessor.std")])
def test_mmpretrains_names(tmp_path: Path, beside: tuple[str, ...]) -> None:
    trained = torchvision.models.resnet18(num_classes=3)
    state = {
        f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": value
        for name, value in trained.state_dict().items()
    }
    state |= {name: torch.full((3, 1, 1), 100.0) for name in beside}
    content = {"meta": {"dataset_meta": {"classes": ("cat", "dog", "fish")}}, "state_dict": state}
    loaded = load_saved(content, tmp_path)
    assert_same(loaded.module, trained)
    assert loaded.labels == ("cat", "dog", "fish")
    assert f"left out of the checkpoint: 2 ({', '.join(beside)})" in loaded.notes or not beside


def test_a_head_of_several_layers_is_told_as_code(tmp_path: Path) -> None:
    trained = torchvision.models.resnet18()
    trained.fc = nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, 5))
    message = refusal(UsageError, lambda: load_saved(trained.state_dict(), tmp_path))
    assert message.startswith(
        f"file:{tmp_path}/net.pth holds the weights of torchvision:resnet18 with a last layer of its own: "
        "fc.0.weight [16,512], fc.0.bias [16], fc.2.weight [5,16], fc.2.bias [5]\n"
    )
    code = message.partition("--arch net:build\n\n")[2]
    assert "net.fc = nn.Sequential(nn.Linear(512, 16), ..., nn.Linear(16, 5))" in code
    lines = "\n".join(line.removeprefix("    ") for line in code.splitlines()).replace("...,", "nn.ReLU(),")
    (tmp_path / "net.py").write_text(lines)
    loaded = load_saved(trained.state_dict(), tmp_path, arch="net:build", folder=str(tmp_path))
    assert_same(loaded.module, trained)


@pytest.mark.parametrize("arch", [None, "torchvision:squeezenet1_1"])
@pytest.mark.parametrize("place", [None, "state_dict"])
def test_the_lines_that_load_the_same_without_pinnace(
    tmp_path: Path, arch: str | None, place: str | None
) -> None:
    trained = torchvision.models.squeezenet1_1(num_classes=4).eval()
    state = {f"model.{name}": value for name, value in trained.state_dict().items()}
    state["criterion.weight"] = torch.ones(4)
    torch.save({place: state, "epoch": 3} if place else state, tmp_path / "net.pth")
    lines = snippet(LoadRequest(Source("file", str(tmp_path / "net.pth")), arch))
    (tmp_path / "script.py").write_text(f"import torch\n{lines}")
    assert_same(runpy.run_path(str(tmp_path / "script.py"))["model"], trained)


def test_weights_of_nobody(tmp_path: Path) -> None:
    content = {"arch": "my_net", "state_dict": nn.Linear(3, 2).state_dict()}
    assert refusal(UsageError, lambda: load_saved(content, tmp_path)) == (
        f"file:{tmp_path}/net.pth holds weights, not a network\n"
        "  help: say what builds the network: --arch package.module:factory or --arch torchvision:resnet18; "
        "the checkpoint says 'my_net'"
    )


def test_what_a_checkpoint_says_of_labels_and_size_is_taken_and_told(tmp_path: Path) -> None:
    trained = torchvision.models.squeezenet1_1(num_classes=4)
    content = {
        "model": trained.state_dict(),
        "class_to_idx": {"dog": 1, "cat": 0, "fish": 2, "owl": 3},
        "args": argparse.Namespace(image_size=64, mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25]),
    }
    loaded = load_saved(content, tmp_path)
    assert loaded.labels == ("cat", "dog", "fish", "owl")
    assert loaded.preprocess is not None
    assert (loaded.preprocess.resize, loaded.preprocess.crop) == ((64, 64), None)
    assert loaded.preprocess.std == (0.25,) * 3
    assert loaded.notes[-2:] == (
        "4 class names were found in the file (class_to_idx)",
        "found in the checkpoint: an image size of 64x64 (args.image_size), into which images are assumed to "
        "be squeezed; mean and std",
    )


@pytest.mark.parametrize("arch", ["torchvision:resnet18", "timm:resnet18", "torchvision:vit_b_16"])
def test_the_table_is_that_of_the_installed_versions(arch: str) -> None:
    row = next(row for row in TABLE.read_text().splitlines() if row.startswith(f"{arch} "))
    kind, _, name = arch.partition(":")
    with torch.device("meta"):
        network = torchvision.models.get_model(name) if kind == "torchvision" else timm.create_model(name)
    assert arch in [match.arch for match in recognise(network.state_dict())]
    assert len(row.split(" ")) == 4


class MaxAndMean(nn.Module):
    """fastai's pooling: the largest values first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([nn.AdaptiveMaxPool2d(1)(x), nn.AdaptiveAvgPool2d(1)(x)], 1)


def learner(body: nn.Module, features: int, classes: int, *, pool: bool = True) -> nn.Module:
    """The network of fastai's `vision_learner`: a body, and the head that `create_head` makes."""
    head = [
        *([MaxAndMean(), nn.Flatten()] if pool else []),
        *(nn.BatchNorm1d(features), nn.Dropout(0.25), nn.Linear(features, 512, bias=False), nn.ReLU()),
        *(nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, classes, bias=False)),
    ]
    network = nn.Sequential(body, nn.Sequential(*head))
    for layer in network[1]:
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.normal_(layer.running_mean)
    return network


class TimmBody(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = timm.create_model(name, num_classes=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.forward_features(x)


@pytest.mark.parametrize("form", ["with optimiser", "bare"])
def test_what_fastais_learner_saves(tmp_path: Path, form: str) -> None:
    body = nn.Sequential(*list(torchvision.models.resnet18().children())[:-2])
    trained = learner(body, 1024, 6)
    state = trained.state_dict()
    loaded = load_saved({"model": state, "opt": {"state": []}} if form != "bare" else state, tmp_path)
    assert_same(loaded.module, trained)
    note = (
        "the names and shapes of the weights are those of a fastai Learner: the body of "
        "torchvision:resnet18, and fastai's head with 6 classes; --arch says otherwise"
    )
    assert note in loaded.notes
    assert loaded.assumed_for == "fastai"
    assert loaded.preprocess is not None
    assert (loaded.preprocess.resize, loaded.preprocess.crop) == (224, (224, 224))


def test_other_bodies_of_fastais_learner(tmp_path: Path) -> None:
    dense = learner(nn.Sequential(*list(torchvision.models.densenet121().children())[:-1]), 2048, 3)
    assert_same(load_saved(dense.state_dict(), tmp_path).module, dense)
    of_timm = learner(
        TimmBody("test_efficientnet"), 2 * timm.create_model("test_efficientnet").num_features, 3
    )
    assert_same(load_saved(of_timm.state_dict(), tmp_path).module, of_timm)


def test_a_body_of_fastais_that_nobody_knows_is_one_command(tmp_path: Path) -> None:
    trained = learner(nn.Sequential(nn.Conv2d(3, 8, 3)), 16, 5)
    assert refusal(UsageError, lambda: load_saved(trained.state_dict(), tmp_path)) == (
        f"file:{tmp_path}/net.pth holds weights of a fastai Learner with 5 classes, whose network is not "
        "known by its names\n"
        "  help: in fastai, learn.export('model.pkl') writes the network with it; then: pinnace export "
        f"file:{tmp_path}/model.pkl --trust"
    )
