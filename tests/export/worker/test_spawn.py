"""Exports through the command line and its child interpreter, where foreign code may do its worst."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pinnace.cli import main
from pinnace.export.outputs import ASSUMED_LOGITS
from pinnace.export.request import ExportRequest
from pinnace.export.worker.spawn import run_worker
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import PinnaceError, SourceError
from pinnace.models.files import sha256
from pinnace.models.progress import ignore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("real_children")]

NET = """
import export.blocks, serving.heads, models, clients
from torch import nn

def build(num_classes):
    print("a word from the factory")
    return nn.Sequential(export.blocks.block(), *serving.heads.head(num_classes))
"""
BLOCKS = "from torch import nn\ndef block(): return nn.Conv2d(3, 4, 3, stride=4)\n"
HEADS = (
    "from torch import nn\n"
    "def head(classes): return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]\n"
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def pinnace(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main.run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


Pinnace = Callable[..., tuple[int, str, str]]


def test_packages_of_the_user_that_are_called_like_ours_do_not_collide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinnace: Pinnace
) -> None:
    import torch

    code = {
        "models/net.py": NET,
        "export/blocks.py": BLOCKS,
        "serving/heads.py": HEADS,
        "clients/__init__.py": "",
    }
    for file, text in code.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    (tmp_path / "json.py").write_text("raise RuntimeError('not the json of the standard library')")
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=4),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    torch.save(network.state_dict(), tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    status, out, err = pinnace(
        *("export", "file:net.pt", "--arch", "models.net:build", "--num-classes", 3),
        *("--input-size", "16x16", "--format", "torchscript", "-o", "out.bundle", "--json"),
    )
    assert (status, err) == (
        0,
        "note: the source does not say how images are preprocessed; assumed, as is customary for "
        "ImageNet: bilinear, RGB, mean 0.485 0.456 0.406, std 0.229 0.224 0.225\n"
        f"note: {ASSUMED_LOGITS.format('logits')}\n"
        "note: the source has no class names: the numbers 0 to 2 stand for them, and --labels FILE names "
        "them\n",
    )
    (variant,) = json.loads(out)["variants"]
    assert variant["name"] == "torchscript-fp32"
    assert variant["sha256"] == sha256(tmp_path / "out.bundle" / variant["file"])
    assert Bundle.open("out.bundle").labels == ("0", "1", "2")
    assert not (tmp_path / "out.bundle.log").exists()


def test_a_frozen_decision_is_named_and_the_earlier_bundle_survives(
    workshop: Path, exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinnace: Pinnace
) -> None:
    out = shutil.copytree(exported.folder, tmp_path / "out.bundle")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    lines = (workshop / "sample_networks.py").read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "if x.mean() > 0" in text)
    monkeypatch.chdir(workshop)
    status, stdout, err = pinnace(
        *("export", "file:tiny.pt", "--arch", "sample_networks:Branching", "--preprocess", "preprocess.toml"),
        *("--format", "torchscript", "-o", out),
    )
    assert (status, stdout) == (1, "")
    note, first, expected, got, hint = err.splitlines()
    assert note == f"note: {tmp_path}/out.bundle.reproduce.py shows it without pinnace"
    assert first == (
        "error: torchscript-fp32 in torchscript does not answer like the eager model; no bundle was written"
    )
    assert expected == "  expected: at most 0.001 of the outputs' range"
    assert got.startswith("  got: ")
    assert hint == (
        "  help: the code branches on the data, and tracing recorded only one branch; "
        f"see sample_networks.py:{line}: Converting a tensor to a Python boolean might cause the trace to be "
        "incorrect. We can't record the data flow of Python values, so this value will be treated as a "
        "constant in the future. This means that the trace might not generalize to other inputs!"
    )
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    kept = ["out.bundle", "out.bundle.reproduce", "out.bundle.reproduce.py"]
    assert [name for name in names(tmp_path) if not name.endswith(".log")] == kept


def test_weights_that_cannot_be_downloaded_are_one_sentence_and_leave_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinnace: Pinnace
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    status, out, err = pinnace("export", "torchvision:squeezenet1_1", "-o", "out.bundle")
    assert (status, out) == (2, "")
    assert err == (
        f"note: {tmp_path}/out.bundle.reproduce.py shows it without pinnace\n"
        "error: the weights SqueezeNet1_1_Weights.IMAGENET1K_V1 of torchvision:squeezenet1_1 "
        "cannot be downloaded: <urlopen error [Errno 111] Connection refused>\n"
        "  help: download https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth elsewhere and use "
        "file:PATH --arch torchvision:squeezenet1_1@IMAGENET1K_V1, or torchvision:squeezenet1_1@none "
        "for random weights\n"
    )
    assert set(names(tmp_path)) <= {"torch", "out.bundle.log", "out.bundle.reproduce.py"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["file:tiny.pt", "-o", "file/out"], "{cwd}/file/out cannot be written: {cwd}/file: File exists"),
        (["file:tiny.pt", "-o", "file"], "{cwd}/file already exists and was not written by this command"),
        (["ftp:net", "-o", "out"], "'ftp:net' is not a model source"),
        (["file:tiny.pt", "-o", "out", "--target", "abacus"], "there is no target 'abacus'"),
        (["file:tiny.pt", "-o", "out", "--input-size", "16"], "'16' is not a size"),
        (["file:tiny.pt", "-o", "out", "--input-size", "0x16"], "'0x16' is not a size"),
        (
            ["file:tiny.pt", "-o", "out", "--preprocess", "none.toml"],
            "there is no preprocessing file none.toml",
        ),
        (["file:tiny.pt", "-o", "out", "--labels", "none.txt"], "none.txt cannot be read as labels: "),
        (["file:tiny.pt", "-o", "out", "--format", "tflite"], "there is no format tflite"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinnace: Pinnace, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("pinnace.export.exporter.run_worker", lambda *args, **kwargs: pytest.fail("loaded"))
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    status, out, err = pinnace("export", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: " + message.format(cwd=tmp_path))
    assert names(tmp_path) == ["file"]


def run(request: ExportRequest, factory: str, folder: Path, timeout: float = 60) -> PinnaceError:
    """What a child interpreter raises whose factory misbehaves."""
    request = dataclasses.replace(request, arch=f"sample_networks:{factory}", variants=())
    with pytest.raises(PinnaceError) as caught:
        run_worker(request, folder, folder / "log", ignore, timeout=timeout)
    return caught.value


def test_a_factory_that_ends_the_interpreter(tiny_request: ExportRequest, tmp_path: Path) -> None:
    error = run(tiny_request, "ends", tmp_path)
    assert type(error) is SourceError
    assert str(error) == (
        f"loading file:tiny.pt ended the interpreter (exit status 7); what it printed is in {tmp_path}/log"
    )
    assert (tmp_path / "log").read_text() == "goodbye\n"


def test_a_factory_that_crashes_the_interpreter(tiny_request: ExportRequest, tmp_path: Path) -> None:
    error = run(tiny_request, "crashes", tmp_path)
    assert type(error) is SourceError
    assert str(error) == ("loading file:tiny.pt ended the interpreter (signal SIGSEGV); it printed nothing")


def test_a_factory_that_never_returns_is_ended_with_all_that_it_started(
    tiny_request: ExportRequest, tmp_path: Path
) -> None:
    error = run(tiny_request, "sleeps", tmp_path, timeout=8)
    assert type(error) is SourceError
    assert str(error).startswith(
        "exporting file:tiny.pt took longer than 8 seconds and was ended while loading the model; "
    )
    for pid in map(int, (tmp_path / "log").read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_errors_of_the_child_arrive_whole_and_nothing_on_the_path_of_the_caller_is_imported(
    tiny_request: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('not the real torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    error = run(tiny_request, "not_a_network", tmp_path)
    assert type(error) is SourceError
    assert str(error) == (
        "--arch sample_networks:not_a_network does not build a network\n"
        "  expected: a torch.nn.Module\n  got: dict"
    )
