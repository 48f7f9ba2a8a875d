"""Models of Hugging Face, from folders with random weights: answers, labels and preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.install import install_line
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest, OnnxFile
from pinnace.models.loaders.image_processor import distance, translate
from pinnace.models.loaders.paths import find_source
from pinnace.models.source import Source
from support.errors import refusal

pytestmark = pytest.mark.slow

transformers = pytest.importorskip("transformers", reason="transformers is an extra")

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
SWIN = {
    **{"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]},
    **{"window_size": 4, "image_size": 32, "patch_size": 4},
}
CONV = {"hidden_sizes": [8, 16], "depths": [1, 1]}
CROPPED = {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}
NAMES = {0: "cat", 1: "dog", 2: "fish"}

# The model, its configuration, and its image processor with the settings that its models have.
CLASSIFIERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViT", VIT, "ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "deit": (
        "DeiT",
        VIT,
        "DeiTImageProcessor",
        CROPPED,
    ),
    "swin": ("Swin", SWIN, "ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "convnext": (
        "ConvNext",
        {**CONV, "num_stages": 2},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.875},
    ),
    "resnet": (
        "ResNet",
        {**CONV, "embedding_size": 8, "layer_type": "basic"},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.95},
    ),
    "mobilenet_v2": (
        "MobileNetV2",
        {"depth_multiplier": 0.35, "image_size": 32},
        "MobileNetV2ImageProcessor",
        {"size": {"shortest_edge": 41}, "crop_size": {"height": 32, "width": 32}},
    ),
    "efficientnet": (
        "EfficientNet",
        {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320},
        "EfficientNetImageProcessor",
        {"size": {"height": 32, "width": 32}, "resample": 0, "rescale_offset": False, "include_top": True},
    ),
    "beit": (
        "Beit",
        VIT,
        "BeitImageProcessor",
        {**CROPPED, "do_center_crop": True},
    ),
}


def settle(model: torch.nn.Module) -> None:
    """Random weights that do not answer zero; statistics as after training."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and "running_var" not in name:
                value.normal_(0, 0.2)


def save(family: str, folder: Path) -> Any:
    name, settings, processor, options = CLASSIFIERS[family]
    config = getattr(transformers, f"{name}Config")(
        **settings, num_labels=3, id2label=NAMES, label2id={v: k for k, v in NAMES.items()}
    )
    model = getattr(transformers, f"{name}ForImageClassification")(config)
    settle(model)
    model.save_pretrained(folder)
    getattr(transformers, processor)(**options).save_pretrained(folder)
    return model.eval()


def load_folder(folder: Path, **options: object) -> LoadedModel:
    loaded = load(LoadRequest(Source("hf", str(folder)), **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


def photographs_of_many_sizes() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(47, 61), (64, 48), (33, 100), (101, 57), (32, 32), (35, 35), (80, 43), (20, 90)]
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifier_answers_as_in_transformers(tmp_path: Path, family: str) -> None:
    model = save(family, tmp_path)
    loaded = load_folder(tmp_path)
    assert loaded.labels == ("cat", "dog", "fish")
    preprocess = loaded.preprocess
    assert preprocess is not None
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert loaded.notes[0].startswith(f"the preprocessing is that of {type(processor).__name__}: equal ")
    for image in photographs_of_many_sizes():
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        ours = torch.from_numpy(preprocess.apply(image)[None])
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-6, atol=1e-6)
        with torch.no_grad():
            torch.testing.assert_close(loaded.module(ours), model(pixel_values=theirs.float()).logits)


@pytest.mark.parametrize(
    ("name", "settings"), [("Dinov2", VIT), ("ViT", VIT), ("ConvNext", {**CONV, "num_stages": 2})]
)
def test_a_network_without_a_head_is_an_embedding(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    options = {"add_pooling_layer": False} if name == "ViT" else {}
    model = getattr(transformers, f"{name}Model")(
        getattr(transformers, f"{name}Config")(**settings), **options
    )
    settle(model)
    model.eval().save_pretrained(tmp_path)
    loaded = load_folder(tmp_path)
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        answer = model(pixel_values=inputs)
        expected = answer.last_hidden_state[:, 0] if name != "ConvNext" else answer.pooler_output
        torch.testing.assert_close(loaded.module(inputs), expected)
    assert (loaded.module.num_classes, loaded.labels, loaded.preprocess) == (0, None, None)


def test_several_labels(tmp_path: Path) -> None:
    model = save("vit", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values=inputs).logits.sigmoid()
        torch.testing.assert_close(load_folder(tmp_path).module(inputs), expected)


def test_names_that_say_nothing_are_no_labels(tmp_path: Path) -> None:
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, num_labels=3))
    model.save_pretrained(tmp_path)
    assert load_folder(tmp_path).labels is None


@pytest.mark.parametrize(
    "options",
    [
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False},
        {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": True},
        {"do_center_crop": True, "crop_size": {"height": 25, "width": 31}},
        {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 300, "width": 301}},
    ],
)
def test_the_settings_of_a_processor_are_translated(options: dict[str, Any]) -> None:
    processor = transformers.EfficientNetImageProcessorPil(size={"height": 32, "width": 36}, **options)
    preprocess = translate(processor)
    assert preprocess is not None
    most = 300.0 if options.get("do_rescale") is False else 5.0
    assert distance(processor, preprocess) < 1e-6 * most


def test_a_processor_that_turns_the_channels_around_is_translated() -> None:
    sizes = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    processor = transformers.MobileViTImageProcessorPil(do_flip_channel_order=True, **sizes)
    preprocess = translate(processor)
    assert preprocess is not None
    assert preprocess.color == "BGR"
    assert distance(processor, preprocess) < 1e-6


def test_a_processor_of_another_kind_is_said(tmp_path: Path) -> None:
    save("vit", tmp_path)
    path = tmp_path / "preprocessor_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"size": {"shortest_edge": 32, "longest_edge": 64}}))
    loaded = load_folder(tmp_path)
    assert loaded.preprocess is None
    assert loaded.notes == (
        "ViTImageProcessorPil prepares images in a way that a bundle cannot: its resize has two bounds",
    )


def test_what_is_no_classifier_or_not_there(tmp_path: Path) -> None:
    assert (
        refusal(SourceError, lambda: load_folder(tmp_path / "none")) == f"there is no folder {tmp_path}/none"
    )
    message = refusal(SourceError, lambda: load_folder(tmp_path))
    assert message.startswith(f"{tmp_path} holds no config.json")
    model = save("vit", tmp_path)
    assert refusal(UsageError, lambda: load_folder(tmp_path, num_classes=3)).startswith(
        "--num-classes does not"
    )
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"architectures": ["ViTForMaskedImageModeling"]}))
    assert "is a ViTForMaskedImageModeling, which neither" in refusal(
        SourceError, lambda: load_folder(tmp_path)
    )
    path.write_text(json.dumps(config | {"auto_map": {"AutoModel": "net.Net"}}))
    assert "brings Python code of its own" in refusal(UsageError, lambda: load_folder(tmp_path))
    path.write_text("{")
    assert refusal(SourceError, lambda: load_folder(tmp_path)).startswith(f"{path} is no JSON")
    path.write_text(json.dumps(config))
    model.vit.save_pretrained(tmp_path)
    path.write_text(json.dumps(config))
    assert "lacks 2 weights of a ViTForImageClassification" in refusal(
        SourceError, lambda: load_folder(tmp_path)
    )


def test_a_repository_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fails(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    assert refusal(SourceError, lambda: load_folder(Path("google/vit"))) == (
        "hf:google/vit cannot be downloaded: OSError: no network\n"
        "  help: download it where there is a network (hf download google/vit --local-dir FOLDER), "
        "and use hf:./FOLDER"
    )


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("vit", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    message = refusal(MissingDependency, lambda: load_folder(tmp_path))
    assert message.endswith(f"which is not installed\n  help: {install_line('hf')}")


def test_a_folder_of_timm(tmp_path: Path) -> None:
    import timm
    from timm.models import save_for_hf

    model = timm.create_model("test_resnet", num_classes=3)
    save_for_hf(model, tmp_path, model_config={"num_classes": 3, "label_names": ["cat", "dog", "fish"]})
    loaded = load_folder(tmp_path)
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(inputs), model.eval()(inputs))
    assert loaded.labels == ("cat", "dog", "fish")


def test_what_stands_beside_an_onnx_file_of_optimum(tmp_path: Path) -> None:
    config = {"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert find_source(str(tmp_path)) == Source("file", f"{tmp_path}/model.onnx")
    loaded = load(LoadRequest(Source("file", "model.onnx"), folder=str(tmp_path)))
    assert isinstance(loaded, OnnxFile)
    assert loaded.labels == ("cat", "dog")
    assert loaded.preprocess is not None
    assert (loaded.preprocess.resize, loaded.preprocess.mean) == ((32, 32), (0.5, 0.5, 0.5))
    assert loaded.notes[0] == "2 class names were found in config.json beside the file (id2label)"
    several = config | {
        "problem_type": "multi_label_classification",
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    }
    (tmp_path / "config.json").write_text(json.dumps(several))
    loaded = load(LoadRequest(Source("file", "model.onnx"), folder=str(tmp_path)))
    assert isinstance(loaded, OnnxFile)
    assert loaded.labels is None
    assert loaded.notes[0].endswith("several labels may be true: --scores sigmoid")


def test_weights_that_git_lfs_has_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    request = LoadRequest(Source("hf", str(tmp_path)), folder=str(tmp_path))
    message = refusal(SourceError, lambda: load(request))
    assert message == f"{path} is a Git LFS pointer, not the file itself\n  help: git lfs pull"
