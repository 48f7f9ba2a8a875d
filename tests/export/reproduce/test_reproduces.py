"""For every kind of failure the script that is left behind shows the same without Pinnace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from support.command_line import CommandLine as Pinnace
from support.warm_export.children import Template, printed_without_pinnace

pytestmark = pytest.mark.slow

WITHOUT_PINNACE = (
    "import runpy, sys; sys.modules['pinnace'] = None; sys.argv = [sys.argv[1]]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)

SCRIPT = "out.bundle.reproduce.py"
Reproduced = Callable[[Path], str]

NET = ("--arch", "sample_networks:{}", "--preprocess", "preprocess.toml")


@pytest.fixture
def folder(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of one's own."""
    here = tmp_path / "user"
    shutil.copytree(workshop, here)
    monkeypatch.chdir(here)
    return here


def failed(pinnace: Pinnace, *arguments: object) -> str:
    """What an export says that fails."""
    status, _, err = pinnace("export", *arguments, "-o", "out.bundle")
    assert status in (1, 2), err
    assert "out.bundle.reproduce.py shows it without pinnace" in err
    return err


def printed_by_script(folder: Path) -> str:
    """What the script prints, on either stream, in an interpreter that cannot import Pinnace."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PINNACE, str(folder / SCRIPT)],
        capture_output=True,
        text=True,
        cwd=folder.parent,
    )
    return done.stdout + done.stderr


@pytest.fixture
def reproduced(warm_exports: Template) -> Reproduced:
    """The same in an interpreter that has imported torch, which saves seconds.

    That each kind of script imports what it needs is seen where `printed_by_script` runs it.
    """
    return lambda folder: printed_without_pinnace(warm_exports, folder / SCRIPT, folder.parent)


@pytest.mark.parametrize(
    ("network", "said", "shown"),
    [
        ("fails", "fails", "fails"),
        ("NotANumber", "answers with NaN or infinity", "finite: False"),
        ("Random", "another answer each time", "asked twice: off by "),
    ],
)
def test_a_network_that_cannot_be_loaded_or_asked(
    folder: Path, pinnace: Pinnace, reproduced: Reproduced, network: str, said: str, shown: str
) -> None:
    err = failed(pinnace, "file:tiny.pt", *(word.format(network) for word in NET))
    assert said in err
    printed = reproduced(folder)
    assert shown in printed
    assert "asked twice: off by 0\n" not in printed or network != "Random"


def test_weights_that_cannot_be_read(folder: Path, pinnace: Pinnace) -> None:
    (folder / "net.py").write_text("def build():\n    raise RuntimeError('no such backbone')\n")
    err = failed(pinnace, "file:tiny.pt", "--arch", "net:build")
    assert "RuntimeError: no such backbone" in err
    assert "RuntimeError: no such backbone" in printed_by_script(folder)


def test_a_network_that_does_not_take_the_size(
    folder: Path, pinnace: Pinnace, reproduced: Reproduced
) -> None:
    (folder / "net.py").write_text(
        "import torch\n\n\ndef build():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))\n"
    )
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).state_dict(), folder / "w.pt")
    err = failed(pinnace, "file:w.pt", "--arch", "net:build", "--input-size", "16x16")
    reason = "mat1 and mat2 shapes cannot be multiplied"
    assert reason in err
    assert reason in reproduced(folder)


def test_a_network_that_cannot_be_written(folder: Path, pinnace: Pinnace, reproduced: Reproduced) -> None:
    words = [word.format("Branching") for word in NET]
    err = failed(pinnace, "file:tiny.pt", *words, "--format", "onnx")
    assert "cannot export the network" in err
    assert "data-dependent" in reproduced(folder)


def test_a_variant_that_answers_otherwise(folder: Path, pinnace: Pinnace, reproduced: Reproduced) -> None:
    words = [word.format("Branching") for word in NET]
    err = failed(pinnace, "file:tiny.pt", *words, "--format", "torchscript")
    share = err.partition("got: ")[2].split()[0]
    assert f"off by {share} of the range" in reproduced(folder)


class Normalised(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, 2),
            torch.nn.BatchNorm2d(4),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def onnx_of(network: torch.nn.Module, path: Path, opset: int = 17, *, training: bool = False) -> None:
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        network.train(training), (torch.rand(2, 3, 16, 16),), str(path), dynamo=False, opset_version=opset,
        training=mode, do_constant_folding=not training, input_names=["x"], output_names=["y"],
        dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
    )  # fmt: skip


def test_a_file_in_training_mode(folder: Path, pinnace: Pinnace) -> None:
    onnx_of(Normalised(), folder / "t.onnx", training=True)
    assert "the file was exported in training mode: its node " in failed(pinnace, "file:t.onnx")
    printed = printed_by_script(folder)
    assert "is in training mode" in printed
    assert "in the other order: off by " in printed


def test_a_traced_model_in_training_mode(folder: Path, pinnace: Pinnace, reproduced: Reproduced) -> None:
    network = Normalised().train()
    torch.jit.trace(network, torch.rand(2, 3, 16, 16), check_trace=False).save(str(folder / "t.pt"))
    err = failed(pinnace, "file:t.pt", "--input-size", "16x16")
    assert "depends on the other images of its batch" in err
    printed = reproduced(folder)
    assert "asked twice: off by 0\n" in printed
    assert "the first sample alone: off by " in printed
    assert "the first sample alone: off by 0\n" not in printed


def test_an_opset_that_a_file_cannot_be_converted_to(folder: Path, pinnace: Pinnace) -> None:
    padded = helper.make_node("Pad", ["x", "pads"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 16, 16]) for name in ("x", "p"))
    pads = numpy_helper.from_array(np.zeros(8, np.int64), "pads")
    mean = helper.make_node("Identity", ["y"], ["p"])
    graph = helper.make_graph([padded, mean], "g", [x], [y], [pads])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "p.onnx"
    )
    err = failed(pinnace, "file:p.onnx", "--opset", 17)
    assert "No Adapter To Version $17 for Pad" in err
    assert "No Adapter To Version $17 for Pad" in printed_by_script(folder)


def test_a_graph_that_has_nothing_to_quantise(folder: Path, pinnace: Pinnace, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "images" / "red.png")
    nodes = [helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    graph = helper.make_graph(nodes, "g", [x], [y], [axes])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "m.onnx"
    )
    err = failed(pinnace, "file:m.onnx", "--precision", "int8", "--calibrate", tmp_path / "images")
    assert "the network has no node that can be quantised to int8" in err
    printed = printed_by_script(folder)
    assert "Traceback" not in printed
    written = onnx.load(folder.parent / "onnx-int8.onnx")
    assert not [node for node in written.graph.node if node.op_type == "QuantizeLinear"]
