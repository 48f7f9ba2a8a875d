"""timm: its networks, the preprocessing of its `pretrained_cfg` to the bit, its class names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.loaders import load, parse_source
from pinnace.models.loaders import timm as loader
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.photographs import photographs
from pinnace.models.source import Source
from support.errors import refusal


def load_timm(text: str, **options: object) -> LoadedModel:
    loaded = load(LoadRequest(parse_source(f"timm:{text}"), **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


def test_an_untrained_network_with_the_class_names_of_its_weights() -> None:
    loaded = load_timm("test_resnet@none")
    assert type(loaded.module) is type(timm.create_model("test_resnet"))
    assert loaded.labels is not None
    assert loaded.labels[281:283] == ("tabby, tabby cat", "tiger cat")
    assert loaded.notes == ("test_resnet was exported with random weights",)
    assert loaded.preprocess is not None
    assert loaded.module(torch.zeros(1, 3, *loaded.preprocess.crop)).shape == (1, 1000)


def test_another_head_has_no_class_names_and_arguments_go_to_timm() -> None:
    loaded = load_timm("test_resnet@none", num_classes=7, arguments={"in_chans": 1})
    assert loaded.module(torch.zeros(1, 1, 160, 160)).shape == (1, 7)
    assert loaded.labels is None


# Bicubic and bilinear, squashed and cropped, with and without a margin, of ImageNet's mean and of others.
CONFIGURED = [
    "resnet18.a1_in1k",
    "mobilenetv3_small_100.lamb_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "tf_efficientnet_lite0.in1k",
    "efficientnet_b3.ra2_in1k",
    "cspdarknet53.ra_in1k",
    "vit_base_patch16_lingbot.robbyant",
    "convnext_tiny.in12k_ft_in1k_384",
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k",
    "nextvit_small.bd_in1k",
]


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_preprocessing_equals_timms_own_to_the_bit(name: str) -> None:
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    notes: list[str] = []
    preprocess = loader._preprocess(config, notes)
    transform = timm.data.create_transform(**config, is_training=False)
    assert notes == []
    images = [open_image(path) for path in photographs()]
    images.append(Image.fromarray(np.random.default_rng(0).integers(0, 256, (517, 211, 3), np.uint8)))
    for image in images:
        np.testing.assert_array_equal(preprocess.apply(image), transform(image).numpy(), strict=True)


def test_the_configurations_above_cover_timms() -> None:
    modes = {(c.crop_mode, c.interpolation) for c in map(timm.get_pretrained_cfg, CONFIGURED)}
    assert modes == {(crop, how) for crop in ("center", "squash") for how in ("bicubic", "bilinear")}


@pytest.mark.parametrize(
    ("mode", "size", "note"),
    [
        ("border", (3, 224, 224), "crop mode border, 224x224"),
        ("center", (3, 96, 32), "crop mode center, 96x32"),
    ],
)
def test_a_preprocessing_that_cannot_be_had_exactly_is_said(
    mode: str, size: tuple[int, ...], note: str
) -> None:
    config = {"input_size": size, "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": mode}
    notes: list[str] = []
    preprocess = loader._preprocess({**config, "mean": (0.5,) * 3, "std": (0.5,) * 3}, notes)
    assert preprocess.resize == size[1:]
    assert notes == [
        f"timm would keep the aspect ratio of images ({note}); here they are squeezed into the input"
    ]


def test_weights_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    # The child interpreter imports huggingface_hub after the loader has looked; here it is there already.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert refusal(SourceError, load_timm, "test_resnet.r160_in1k") == (
        "the weights of timm:test_resnet.r160_in1k cannot be downloaded: "
        "http://127.0.0.1:9 cannot be reached\n"
        "  help: download them elsewhere and use file:PATH --arch timm:test_resnet.r160_in1k, "
        "or timm:test_resnet.r160_in1k@none for random weights"
    )


def test_names_that_timm_does_not_have() -> None:
    assert refusal(UsageError, load_timm, "resnet19@none").startswith(
        "timm has no model 'resnet19'\n  expected: for example resnet18, "
    )
    assert refusal(UsageError, load_timm, "test_resnet.imagenet") == (
        "timm has no weights 'imagenet' for test_resnet\n  expected: one of r160_in1k\n  got: imagenet"
    )


def test_options_that_mean_nothing() -> None:
    assert refusal(UsageError, load_timm, "test_resnet", num_classes=3) == (
        "--num-classes does not apply to timm:test_resnet"
    )
    assert refusal(UsageError, load_timm, "test_resnet@none", arch="net:build") == (
        "--arch does not apply to timm:test_resnet@none"
    )
    message = refusal(SourceError, load_timm, "test_resnet@none", arguments={"sides": 3})
    assert message.startswith("timm cannot build test_resnet: TypeError: ")


def test_a_network_of_timm_takes_a_checkpoint(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=4).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "t.pt")
    loaded = load(
        LoadRequest(Source("file", "t.pt"), "timm:test_resnet", num_classes=4, folder=str(tmp_path))
    )
    assert isinstance(loaded, LoadedModel)
    inputs = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.module(inputs), network(inputs))
    assert loaded.labels is None
    assert loaded.preprocess is not None
