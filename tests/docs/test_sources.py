"""What docs/sources.md tells its readers to type works, one example for each kind of source."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pinnace.cli import main
from pinnace.export import exporter
from pinnace.export.request import ExportedFiles, ExportRequest
from pinnace.export.worker.main import export_files
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.progress import Progress
from support import pages
from support.warm_export import registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

ROOT = Path(__file__).parents[2]
COMMANDS = pages.commands(ROOT / "docs" / "sources.md")
TYPED = [command for command in COMMANDS if command.startswith("pinnace export")]

# They download weights or code; that they fail in one sentence is tested with their loaders. The default
# model is exported by other tests, and weights of Darknet are read in tests/models/networks/test_darknet.py.
NEED_A_NETWORK = ("torchvision:resnet50", "timm:resnet18.a1_in1k", "hub:pytorch/vision", "hf:google/")
ELSEWHERE = ("efficientnet_lite0", "darknet:yolov3@", "bentoml:")

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.body(x).relu().mean((2, 3)))

def build():
    return Net()

def tiny(**arguments):
    return Net(**arguments)
"""
WORDS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.table = nn.Linear(8, 4), nn.Embedding(9, 4)

    def forward(self, x, ids):
        return self.line(x) + self.table(ids).mean(1)
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder with everything that the page's examples name."""
    import torchvision

    registry.remember()
    folder = tmp_path_factory.mktemp("desk")
    for name in ("models/net.py", "nets/hubconf.py"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(NETWORK)
    (folder / "models" / "__init__.py").touch()  # the checkout, which pytest put on the path, has one too
    (folder / "words.py").write_text(WORDS)
    (folder / "labels.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    (folder / "preprocess.toml").write_text("resize = [32, 32]\n")
    squeezenet = torchvision.models.squeezenet1_1(num_classes=4)
    save_file(squeezenet.state_dict(), folder / "flowers.safetensors")
    torch.save({"model": squeezenet.state_dict(), "classes": list("abcd")}, folder / "flowers.pth")
    _write_hugging_face(folder / "vit-flowers")
    _forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        network = __import__("models.net").net.build().eval()
        torch.save({"epoch": 3, "model": network.state_dict()}, folder / "digits.pt")
        torch.save(network, folder / "whole.pt")
        torch.save(__import__("words").Net().state_dict(), folder / "words.pt")
    inputs = torch.randn(2, 3, 32, 32)
    torch.jit.save(torch.jit.script(network), folder / "scripted.pt")
    shapes = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network, (inputs,), dynamic_shapes=shapes), folder / "program.pt2")
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    torch.onnx.export(
        network,
        (inputs,),
        folder / "model.onnx",
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=axes,
        dynamo=False,
    )
    (folder / "repository" / "birds" / "1").mkdir(parents=True)
    (folder / "repository" / "birds" / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    shutil.copy(folder / "model.onnx", folder / "repository" / "birds" / "1" / "model.onnx")
    (folder / "runs" / "flowers" / "data").mkdir(parents=True)
    (folder / "runs" / "flowers" / "MLmodel").write_text("flavors: {pytorch: {model_data: data}}\n")
    shutil.copy(folder / "whole.pt", folder / "runs" / "flowers" / "data" / "model.pth")
    with zipfile.ZipFile(folder / "pets.mar", "w") as archive:
        archive.write(folder / "scripted.pt", "scripted.pt")
        model = {"modelName": "pets", "serializedFile": "scripted.pt", "handler": "image_classifier"}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model}))
    _forget()
    return folder


def _write_hugging_face(folder: Path) -> None:
    import transformers

    sizes = {"hidden_size": 16, "intermediate_size": 16, "image_size": 32, "patch_size": 8}
    config = transformers.ViTConfig(num_hidden_layers=1, num_attention_heads=2, num_labels=4, **sizes)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _forget() -> None:
    """Forget modules of the reader's, so that another folder's are imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("models", "words", "hubconf"):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _here(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load and write in this interpreter, which saves seconds for each example."""

    def run(
        request: ExportRequest, folder: Path, log: Path, progress: Progress, *, timeout: float
    ) -> ExportedFiles:
        return export_files(request, folder, progress)

    shutil.copytree(desk, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(exporter, "run_worker", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    _forget()


@pytest.mark.parametrize(
    "command", [c for c in TYPED if not any(name in c for name in NEED_A_NETWORK + ELSEWHERE)]
)
def test_an_example(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    assert main.run(words[1:]) == 0, capfd.readouterr().err
    named = words[words.index("-o") + 1] if "-o" in words else f"{Path(words[2]).stem}.bundle"
    bundle = Bundle.open(named)
    assert all(variant.parity is not None for variant in bundle.manifest.variants)


def test_the_catalogue_is_the_one_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["models"]) == 0
    assert capsys.readouterr().out == pages.outputs(ROOT / "docs" / "sources.md")["pinnace models"]


def test_every_kind_of_source_has_an_example() -> None:
    sources = [shlex.split(command)[2] for command in TYPED]
    kinds = {source.partition(":")[0] for source in sources}
    assert kinds == {
        "efficientnet_lite0",
        "torchvision",
        "timm",
        "darknet",
        "hub",
        "hf",
        "file",
        "flowers.pth",
        "pets.mar",
        "runs/flowers",
        "repository/birds",
        "bentoml",
    }
    files = {source for source in sources if source.startswith("file:")}
    assert {Path(file).suffix for file in files} == {".pt", ".safetensors", ".pt2", ".onnx"}
