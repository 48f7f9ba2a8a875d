"""What checkpoints say of themselves, in the forms of their trainers."""

from __future__ import annotations

import argparse
import types
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch

from pinnace.models.image.preprocess import Aspect, Preprocess
from pinnace.models.loaders.base import LoadedModel, imagenet_preprocess
from pinnace.models.loaders.facts import TIMM, Facts, read_facts
from pinnace.models.loaders.trained import facts_of_learner, inner_network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_torchvisions_reference() -> None:
    arguments = argparse.Namespace(
        model="resnet50", val_resize_size=232, val_crop_size=224, interpolation="bicubic", weights=None
    )
    facts = read_facts({"model": {}, "args": arguments, "epoch": 3})
    assert (facts.trainer, facts.arch) == ("torchvision", "resnet50")
    assert facts.preprocess == Preprocess(232, "bicubic", (224, 224), "RGB", MEAN, STD)


def test_timms_script() -> None:
    arguments = argparse.Namespace(
        model="resnet50d", img_size=None, input_size=[3, 160, 160], crop_pct=0.9, mean=None, std=None,
        interpolation="bicubic",
    )  # fmt: skip
    facts = read_facts({"arch": "resnet50d", "version": 2, "args": arguments, "state_dict": {}})
    assert (facts.trainer, facts.arch, facts.size, facts.share) == ("timm", "resnet50d", (160, 160), 0.9)
    assert (facts.mean, facts.interpolation) == (None, "bicubic")


def test_what_timms_script_says_is_applied() -> None:
    """The crop keeps its share, where other scripts squeeze images into their size."""
    size = Facts(trainer=TIMM, size=(160, 160), size_from="args.input_size")
    base = LoadedModel(torch.nn.Identity(), imagenet_preprocess())
    taken = size.applied_to(base).preprocess
    assert taken is not None
    assert (taken.resize, taken.crop) == (183, (160, 160))
    whole = replace(size, share=1.0, interpolation="bicubic").applied_to(base).preprocess
    assert whole is not None
    assert (whole.resize, whole.crop, whole.interpolation) == (160, (160, 160), "bicubic")
    squeezed = replace(size, trainer=None).applied_to(base).preprocess
    assert squeezed is not None
    assert (squeezed.resize, squeezed.crop) == ((160, 160), None)


def test_lightning() -> None:
    facts = read_facts(
        {
            "pytorch-lightning_version": "2.6.0",
            "state_dict": {},
            "hyper_parameters": {"model_name": "resnet18", "classes": ["cat", "dog"], "image_size": (64, 48)},
        }
    )
    assert (facts.arch, facts.labels, facts.size) == ("resnet18", ("cat", "dog"), (64, 48))
    assert (facts.labels_from, facts.size_from) == ("hyper_parameters.classes", "hyper_parameters.image_size")


@pytest.mark.parametrize(
    "meta",
    [{"CLASSES": ("cat", "dog")}, {"dataset_meta": {"classes": ["cat", "dog"]}}],
    ids=["mmcls", "mmengine"],
)
def test_mmpretrain(meta: dict[str, object]) -> None:
    assert read_facts({"meta": meta, "state_dict": {}}).labels == ("cat", "dog")


def test_an_object_of_a_package_that_is_not_there() -> None:
    settings: OrderedDict[str, object] = OrderedDict()
    node: OrderedDict[str, object] = OrderedDict()
    vars(node).update(_val=96)
    vars(settings).update(_content={"img_size": node, "arch": "resnet18"})
    facts = read_facts({"hyper_parameters": settings, "state_dict": {}})
    assert (facts.size, facts.arch) == ((96, 96), "resnet18")


class Resize:
    size = (48, 64)  # the width first

    def __init__(self, method: str) -> None:
        self.method = method


class Normalize:
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)


class AffineCoordTfm:
    def __init__(self, size: object) -> None:
        self.size = size


class Learner:
    """Has what fastai's exported Learner has, which needs fastai to be made."""

    def __init__(self, method: str, size: object = None) -> None:
        self.model = torch.nn.Linear(3, 2)
        steps = {"after_item": [Resize(method)], "after_batch": [AffineCoordTfm(size), Normalize()]}
        self.dls = types.SimpleNamespace(vocab=["cat", "dog"], **steps)


@pytest.mark.parametrize(
    ("method", "batch", "size", "said"),
    [
        ("squish", None, (64, 48), None),
        ("crop", None, (64, 48), None),
        ("crop", 32, (32, 32), "resizes images to 64x48 and then, in the batch, to 32x32"),
        ("crop", (16, 24), (16, 24), "in the batch, to 16x24"),
        ("pad", None, (64, 48), "pads images"),
    ],
)
def test_fastai(method: str, batch: object, size: tuple[int, int], said: str | None) -> None:
    learner = Learner(method, batch)
    assert inner_network(learner) is learner.model
    facts = facts_of_learner(learner, read_facts(learner))
    assert facts.labels == ("cat", "dog")
    aspect: Aspect = "squeeze" if method == "squish" else "crop"
    assert facts.preprocess == Preprocess(
        size, "bilinear", None, "RGB", (0.5,) * 3, (0.25,) * 3, aspect=aspect
    )
    assert (facts.caveat is None) if said is None else said in str(facts.caveat)


def test_ultralytics() -> None:
    network = torch.nn.Linear(3, 2)
    network.names = {0: "cat", 1: "dog"}  # type: ignore[assignment]
    facts = read_facts(
        {"model": None, "ema": network, "train_args": {"imgsz": 64, "model": "yolo11n-cls.pt"}}
    )
    assert (facts.trainer, facts.labels, facts.size) == ("Ultralytics", ("cat", "dog"), (64, 64))
    assert facts.preprocess == Preprocess(64, "bilinear", (64, 64), "RGB", (0.0,) * 3, (1.0,) * 3)


def test_a_network_that_knows_its_classes() -> None:
    network = torch.nn.Linear(3, 2)
    network.names = {0: "cat", 1: "dog"}  # type: ignore[assignment]
    assert read_facts(network).labels == ("cat", "dog")
    assert read_facts({"model": network, "epoch": 3}).labels == ("cat", "dog")


@pytest.mark.parametrize(
    "content",
    [{"classes": 10, "image_size": 0.5}, {"names": [1.5, torch.ones(2)]}, torch.ones(3), [], None, {}],
)
def test_what_says_nothing(content: object) -> None:
    facts = read_facts(content)
    assert (facts.labels, facts.size, facts.arch, facts.preprocess) == (None, None, None, None)
