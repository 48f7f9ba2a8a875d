"""Folders of Triton, MLflow and BentoML: made as those write them, and what is wrong with others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pinnace.models.errors import PinnaceError, SourceError, UsageError
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest, OnnxFile
from pinnace.models.loaders.paths import default_name, find_source
from support.errors import error_of, refusal
from support.tiny_bundle import LABELS, build_bundle

CONFIG = """\
# made by hand  backend: "no"
name: "tiny"
platform: "onnxruntime_onnx"
max_batch_size: 8
output [ { name: "logits" data_type: TYPE_FP32 dims: [ 5 ] label_filename: "names.txt" } ]
"""
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

# What mlflow-skinny 3 wrote for a network of torch, without what does not matter here.
MLMODEL = """\
flavors:
  python_function:
    data: data
    loader_module: mlflow.pytorch
    python_version: 3.11.7
  pytorch:
    code: code
    model_data: data
    pytorch_version: 2.14.0
model_uuid: 0
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3, 48, 64]}}]'
"""


def ask(text: str, **options: Any) -> LoadedModel | OnnxFile:
    return load(LoadRequest(find_source(text), **options))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of Triton with one model in two versions."""
    onnx = (build_bundle(tmp_path / "tiny.bundle") / "model.onnx").read_bytes()
    model = tmp_path / "repository" / "tiny"
    for version in ("1", "12", "2"):
        (model / version).mkdir(parents=True)
        (model / version / "model.onnx").write_bytes(onnx)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "names.txt").write_text("\n".join(LABELS))
    return tmp_path / "repository"


def test_tritons_newest_version_with_the_names_of_its_labels(repository: Path) -> None:
    for text in (str(repository), str(repository / "tiny"), f"triton:{repository}/tiny"):
        assert str(find_source(text)) == f"triton:{repository}/tiny"
    assert default_name(find_source(str(repository))) == "tiny.bundle"
    loaded = ask(str(repository))
    assert isinstance(loaded, OnnxFile)
    assert loaded.path == repository / "tiny" / "12" / "model.onnx"
    assert loaded.labels == LABELS
    assert loaded.notes == (
        "version 12 of tiny was taken",
        "5 class names were found in names.txt (label_filename)",
    )


def test_tritons_torchscript_and_a_file_of_another_name(repository: Path) -> None:
    model = repository / "tiny"
    script = torch.jit.trace(torch.nn.Flatten(), torch.zeros(1, 3, 4, 4))
    torch.jit.save(script, model / "12" / "net.pt")
    (model / "config.pbtxt").write_text('backend: "pytorch"\ndefault_model_filename: "net.pt"\n')
    loaded = ask(str(model))
    assert isinstance(loaded, LoadedModel)
    assert loaded.module(torch.zeros(2, 3, 4, 4)).shape == (2, 48)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('platform: "tensorrt_plan"', "is a model for Triton's tensorrt_plan, whose files are not read"),
        ('platform: "ensemble"', "is a model for Triton's ensemble"),
        (CONFIG.replace("names.txt", "../../x"), "outside of its folder: '../../x'"),
        ('default_model_filename: "/etc/passwd"', "outside of its folder: '/etc/passwd'"),
        (CONFIG.replace("names.txt", "none.txt"), "cannot be read as labels"),
        ('backend: "pytorch"', "there is no file"),
    ],
)
def test_what_is_wrong_with_a_model_of_triton(repository: Path, config: str, words: str) -> None:
    (repository / "tiny" / "config.pbtxt").write_text(config)
    assert words in str(error_of(PinnaceError, lambda: ask(str(repository))))


def test_several_models_in_a_repository_and_none_in_a_version(repository: Path) -> None:
    (repository / "other").mkdir()
    (repository / "other" / "config.pbtxt").write_text("")
    message = refusal(UsageError, lambda: ask(str(repository)))
    assert f"one of {repository}/other, {repository}/tiny" in message
    assert "has no version" in refusal(SourceError, lambda: ask(f"{repository}/other"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of MLflow with a pickled network, whose class stands in its own `code`."""
    folder = tmp_path / "flowers"
    for name in ("data", "code"):
        (folder / name).mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    source = "import torch\n\nclass Net(torch.nn.Flatten):\n    pass\n"
    (folder / "code" / "net_of_flowers.py").write_text(source)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder / "code"))
        torch.save(__import__("net_of_flowers").Net(), folder / "data" / "model.pth")
    monkeypatch.delitem(sys.modules, "net_of_flowers")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def test_mlflows_network_is_unpickled_where_it_is_trusted(folder: Path) -> None:
    assert str(find_source(str(folder))) == f"mlflow:{folder}"
    assert default_name(find_source(str(folder))) == "flowers.bundle"
    assert "--trust" in str(error_of(PinnaceError, lambda: ask(str(folder))))
    loaded = ask(str(folder), trust=True)
    assert isinstance(loaded, LoadedModel)
    assert loaded.module(torch.zeros(2, 3, 4, 4)).shape == (2, 48)
    assert loaded.preprocess is not None
    assert (loaded.preprocess.resize, loaded.preprocess.crop) == ((48, 64), None)
    assert (loaded.assumed_for, loaded.notes) == (
        "ImageNet",
        ("the signature in MLmodel has images of 48x64",),
    )


def test_mlflows_onnx(tmp_path: Path, folder: Path) -> None:
    onnx = (build_bundle(tmp_path / "tiny.bundle") / "model.onnx").read_bytes()
    (folder / "net.onnx").write_bytes(onnx)
    (folder / "MLmodel").write_text("flavors:\n  onnx:\n    data: net.onnx\n")
    loaded = ask(str(folder))
    assert isinstance(loaded, OnnxFile)
    assert loaded.path == folder / "net.onnx"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("flavors: {sklearn: {}}", "has no flavour of MLflow's that is read"),
        ("a: [", "is not valid YAML"),
        ("- 1", "names no flavours"),
        ("flavors: {pytorch: {model_data: ../..}}", "outside of its folder: '../..'"),
        ("flavors: {pytorch: {model_data: none}}", "lacks the file of its network"),
        ("flavors: {pytorch: {code: /tmp}}", "outside of its folder: '/tmp'"),
    ],
)
def test_what_is_wrong_with_a_folder_of_mlflow(folder: Path, document: str, words: str) -> None:
    (folder / "MLmodel").write_text(document)
    assert words in str(error_of(PinnaceError, lambda: ask(str(folder), trust=True)))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty store of BentoML's."""
    import bentoml
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    folder = tmp_path / "store"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield bentoml
    BentoMLContainer.model_store.reset()


def test_a_model_in_the_store_of_bentoml(store: Any, tmp_path: Path) -> None:
    onnx = (build_bundle(tmp_path / "tiny.bundle") / "model.onnx").read_bytes()
    with store.models.create("pets", metadata={"classes": list(LABELS)}) as model:
        Path(model.path, "saved_model.onnx").write_bytes(onnx)
    assert default_name(find_source("bentoml:pets:latest")) == "pets.bundle"
    for text in ("bentoml:pets", "bentoml:pets:latest", f"bentoml:{model.tag}"):
        loaded = ask(text)
        assert isinstance(loaded, OnnxFile)
        assert loaded.path.read_bytes() == onnx
        assert loaded.labels == LABELS
        assert loaded.notes[0] == f"{model.tag} was taken from BentoML's store"


def test_what_is_not_there_or_not_one_network(store: Any) -> None:
    assert "is not in BentoML's store" in refusal(SourceError, lambda: ask("bentoml:none"))
    with store.models.create("two") as model:
        for name in ("a.pt", "b.onnx"):
            Path(model.path, name).write_bytes(b"x")
    assert "got: a.pt, b.onnx" in refusal(SourceError, lambda: ask("bentoml:two"))
