"""Archives of TorchServe, made as `torch-model-archiver` 0.12 makes them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pinnace.models.errors import PinnaceError, SourceError, UsageError
from pinnace.models.loaders import load, parse_source
from pinnace.models.loaders.base import LoadedModel, LoadRequest, OnnxFile
from pinnace.models.loaders.paths import default_name, find_source
from pinnace.models.loaders.torchserve import MANIFEST, archive_in
from pinnace.models.source import Source
from support.errors import error_of, refusal
from support.tiny_bundle import build_bundle

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

NAMES = {"0": ["n01", "cat"], "1": "dog", "2": "cow"}
NETWORK = """\
import torch
from part import WIDTH

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(WIDTH, 3)

    def forward(self, x):
        return self.head(x.mean((2, 3)))
"""


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3)
    ).eval()


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(network(), torch.zeros(2, 3, 224, 224)), buffer)
    return buffer.getvalue()


def described(**model: Any) -> bytes:
    """A manifest as torch-model-archiver 0.12 writes it."""
    usual = {"modelName": "pets", "handler": "image_classifier", "modelVersion": "1.0"}
    document = {
        "createdOn": "27/11/2026 10:07:59",
        "runtime": "python",
        "model": usual | model,
        "archiverVersion": "0.12.0",
    }
    return json.dumps(document).encode()


def files(**model: Any) -> dict[str, bytes]:
    return {
        "net.pt": script(),
        "index_to_name.json": json.dumps(NAMES).encode(),
        MANIFEST: described(**({"serializedFile": "net.pt"} | model)),
    }


def mar(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def ask(path: Path, **options: Any) -> LoadedModel:
    loaded = load(LoadRequest(find_source(str(path)), **options))
    assert isinstance(loaded, LoadedModel)
    return loaded


@pytest.fixture(params=["mar", "tar.gz", "folder"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The three forms that `--archive-format` has; only the zip has no folder of its own inside."""
    if request.param == "mar":
        return mar(tmp_path / "pets.mar", files())
    if request.param == "folder":
        for name, data in files().items():
            (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "pets" / name).write_bytes(data)
        return tmp_path / "pets"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        for name, data in files().items():
            info = tarfile.TarInfo(f"pets/{name}")
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return tmp_path / "a.tar.gz"


def test_every_form_gives_network_names_and_preprocessing(archive: Path) -> None:
    source = find_source(str(archive))
    assert source == Source("torchserve", str(archive), "1.0")
    assert parse_source(str(source)) == source
    assert find_source(f"torchserve:{archive}") == source
    assert default_name(source) == "pets.bundle"
    loaded = ask(archive)
    assert loaded.labels == ("cat", "dog", "cow")
    preprocess = loaded.preprocess
    assert preprocess is not None
    assert loaded.assumed_for is None
    assert (preprocess.resize, preprocess.crop, preprocess.exif) == (256, (224, 224), False)
    assert (preprocess.mean, preprocess.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert "not turned by their EXIF" in loaded.notes[-1]
    image = torch.rand(2, 3, 224, 224)
    np.testing.assert_allclose(loaded.module(image).numpy(), network()(image).detach().numpy(), rtol=1e-6)


def test_the_version_in_a_source_is_kept_and_checked(tmp_path: Path) -> None:
    path = mar(tmp_path / "a@b.mar", files(modelVersion="2.1"))
    source = find_source(str(path))
    assert (str(source), archive_in(str(source))) == (f"torchserve:{path}@2.1", ("a@b.mar", "2.1"))
    assert parse_source(f"torchserve:{path}") == Source("torchserve", str(path))
    assert archive_in("torchvision:resnet18@none") is None
    wrong = LoadRequest(Source("torchserve", str(path), "9"))
    assert "holds version 2.1" in refusal(UsageError, lambda: load(wrong))


def test_a_handler_of_ones_own_is_not_run(tmp_path: Path) -> None:
    mine = files(handler="mine.py") | {"mine.py": b"raise SystemExit('it was run')"}
    loaded = ask(mar(tmp_path / "a.mar", mine), trust=True)
    assert loaded.assumed_for == "TorchServe's image_classifier"
    assert loaded.notes[-1].startswith(
        "the archive's own handler mine.py was not run; images are prepared as"
    )


def eager(**model: Any) -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.save({"head.weight": torch.eye(3), "head.bias": torch.tensor([0.0, 1.0, 2.0])}, buffer)
    manifest = described(serializedFile="w.pth", modelFile="net_of_pets.py", **model)
    code = {"net_of_pets.py": NETWORK.encode(), "part.py": b"WIDTH = 3\n"}
    return {"w.pth": buffer.getvalue(), MANIFEST: manifest, **code}


def test_weights_and_the_code_that_they_fit_are_loaded_where_they_are_trusted(tmp_path: Path) -> None:
    path = mar(tmp_path / "a.mar", eager())
    message = refusal(UsageError, lambda: ask(path))
    assert message == (
        f"{path} brings Python code that builds its network (net_of_pets.py), and nothing of it was run\n"
        "  help: if you trust its author, add --trust: the code then runs with all your rights; or name the "
        "network with --arch, and no code is run"
    )
    loaded = ask(path, trust=True)
    assert loaded.module(torch.ones(1, 3, 4, 4)).tolist() == [[1.0, 2.0, 3.0]]
    assert loaded.labels is None
    assert "classes are called by their numbers" in " ".join(loaded.notes)


def test_such_code_has_to_define_one_network(tmp_path: Path) -> None:
    two = eager() | {"net_of_pets.py": NETWORK.encode() + b"\nclass More(Net):\n    pass\n"}
    message = refusal(SourceError, lambda: ask(mar(tmp_path / "a.mar", two), trust=True))
    assert "must define one network, as TorchServe demands it" in message
    assert "Net, More" in message


def test_weights_for_a_network_that_arch_names_run_no_code(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_0

    buffer = io.BytesIO()
    torch.save(squeezenet1_0(num_classes=3).state_dict(), buffer)
    content = eager() | {"w.pth": buffer.getvalue(), "net_of_pets.py": b"raise SystemExit"}
    path = mar(tmp_path / "a.mar", content)
    loaded = ask(path, arch="torchvision:squeezenet1_0", num_classes=3)
    assert loaded.module(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    message = refusal(UsageError, lambda: ask(mar(tmp_path / "b.mar", files()), arch="timm:resnet18"))
    assert f"--arch does not apply to file:net.pt in {tmp_path}/b.mar" in message


def test_an_onnx_file_in_an_archive(tmp_path: Path) -> None:
    onnx = (build_bundle(tmp_path / "tiny.bundle") / "model.onnx").read_bytes()
    path = mar(tmp_path / "a.mar", files(serializedFile="m.onnx") | {"m.onnx": onnx})
    loaded = load(LoadRequest(find_source(str(path))))
    assert isinstance(loaded, OnnxFile)
    assert loaded.path.read_bytes() == onnx
    assert loaded.labels == ("cat", "dog", "cow")
    assert loaded.preprocess is not None


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"object_type_names": ["a", "b"]}, ("a", "b")),
        ({"0": "a", "2": ["x", "y", "c"]}, ("a", "1", "c")),
        ({"1": "b", "0": "a\nb"}, ("a b", "b")),
    ],
)
def test_both_forms_of_names(tmp_path: Path, names: Any, labels: tuple[str, ...]) -> None:
    content = files() | {"index_to_name.json": json.dumps(names).encode()}
    assert ask(mar(tmp_path / "a.mar", content)).labels == labels


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({MANIFEST: b"no"}, "is no JSON"),
        ({MANIFEST: b"[]"}, "describes no model"),
        (
            {MANIFEST: b'{"model": {"serializedFile": 3}}'},
            "serializedFile in its MAR-INF/MANIFEST.json is not",
        ),
        (
            {MANIFEST: described(serializedFile="../../etc/passwd")},
            "outside of its folder: '../../etc/passwd'",
        ),
        ({MANIFEST: described(serializedFile="/etc/passwd")}, "outside of its folder: '/etc/passwd'"),
        ({MANIFEST: described(serializedFile="none.pt")}, "has no file 'none.pt'"),
        ({MANIFEST: described()}, "names no file of weights"),
        ({MANIFEST: described(serializedFile="net.pt", handler="object_detector")}, "classifies no images"),
        ({"index_to_name.json": b"[1]"}, "names no classes"),
        ({"index_to_name.json": b'{"cat": 0}'}, "does not name classes by their numbers"),
        ({"index_to_name.json": b'{"99999999999": "x"}'}, "does not name classes by their numbers"),
        ({"index_to_name.json": b"{"}, "its index_to_name.json is no JSON"),
        ({"net.pt": b"no network"}, "net.pt in "),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, change: dict[str, bytes], words: str) -> None:
    path = mar(tmp_path / "a.mar", files() | change)
    message = str(error_of(PinnaceError, lambda: ask(path)))
    assert words in message
    assert str(path) in message
    assert "torchserve-" not in message


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_bytes(b"no archive")
    assert "neither a zip nor a tar" in refusal(SourceError, lambda: find_source(str(tmp_path / "a.mar")))
    mar(tmp_path / "a.mar", {"net.pt": b""})
    assert f"has no {MANIFEST}" in refusal(SourceError, lambda: find_source(str(tmp_path / "a.mar")))
