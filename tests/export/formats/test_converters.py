"""Formats whose converters stand in an environment of their own: `.tflite` and `.pte` files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pinnace.export import targets
from pinnace.export.formats import all_formats
from pinnace.export.formats.base import Graph
from pinnace.export.formats.converters.environment import Converter
from pinnace.export.formats.litert import CONVERTER as LITERT
from pinnace.export.variant_selection import select
from pinnace.export.worker.eager_model import flat_module
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import CheckFailed, MissingDependency, UsageError
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.variant_name import VariantName
from support.errors import refusal
from support.two_heads import SHAPE, SIGNATURE, TwoHeads, graph

GONE = "PINNACE_CONVERTER_OF_THIS_TEST"

CONVERTS = """\
import json, pathlib, sys
import torch

folder, precision, file = pathlib.Path(sys.argv[1]), *sys.argv[2:]
program = torch.export.load(folder / "program.pt2")
(shape,) = (list(tensor.shape) for tensor in program.example_inputs[0])
(folder / file).write_text(json.dumps([precision, shape]))
(folder / "result.json").write_text('{"versions": {"abacus": "7"}}')
"""

SAYS_WHY = """\
import pathlib, sys

(pathlib.Path(sys.argv[1]) / "result.json").write_text('{"error": "no kernel"}')
"""


@pytest.fixture
def converter(tmp_path: Path) -> Callable[[str], Converter]:
    """A converter that this Python runs, from the text of its script."""

    def made(text: str) -> Converter:
        script = tmp_path / "convert.py"
        script.write_text(text)
        return Converter("torch", str(script), GONE, "install it")

    return made


def test_one_sample_of_the_network_goes_over_and_a_file_comes_back(
    converter: Callable[[str], Converter], tmp_path: Path
) -> None:
    written = converter(CONVERTS).convert(graph("fp16"), tmp_path / "net.abacus")
    assert json.loads((tmp_path / "net.abacus").read_text()) == ["fp16", [1, *SHAPE]]
    assert written.tools == {"abacus": "7"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('no kernel')", "ValueError: no kernel"),
        ("import os; os.abort()", "exit status -6"),
        ("", "exit status 0"),
        (SAYS_WHY, "no kernel"),
    ],
    ids=["raises", "crashes", "writes nothing", "says why"],
)  # fmt: skip
def test_a_converter_that_fails_leaves_no_file(
    converter: Callable[[str], Converter], tmp_path: Path, text: str, reason: str
) -> None:
    message = refusal(CheckFailed, converter(text).convert, graph(), tmp_path / "net.abacus")
    assert message == f"torch cannot convert the network: {reason}\n  help: leave it out with --format onnx"
    assert [path.name for path in tmp_path.iterdir()] == ["convert.py"]


def test_a_network_of_any_size_is_refused(converter: Callable[[str], Converter], tmp_path: Path) -> None:
    any_size = Signature(
        (TensorSpec("image", "float32", ("batch", 3, "height", "width")),), SIGNATURE.outputs
    )
    given = Graph(flat_module(TwoHeads().eval()), graph().example, any_size, 18)
    assert refusal(CheckFailed, converter(CONVERTS).convert, given, tmp_path / "net.abacus") == (
        ".abacus files take samples one by one and of one size\n"
        "  got: image=float32[batch,3,height,width]\n"
        "  help: leave it out with --format onnx"
    )


def test_another_python_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = Converter("no_such_package", "to_litert.py", GONE, "install it")
    assert refusal(MissingDependency, elsewhere.python) == (
        f"the package no_such_package is not installed, and {GONE} names no Python with it\n"
        "  help: install it"
    )
    monkeypatch.setenv(GONE, sys.executable)
    assert elsewhere.python() == sys.executable
    monkeypatch.setenv(GONE, str(tmp_path))
    assert refusal(UsageError, elsewhere.python) == (
        f"{GONE} names no Python\n  expected: the path of an interpreter\n  got: {tmp_path}"
    )


@pytest.fixture
def without_converter(monkeypatch: pytest.MonkeyPatch) -> str:
    """Says what is missing where litert-torch is not to be had."""
    monkeypatch.delenv(LITERT.variable, raising=False)
    try:
        LITERT.python()
    except MissingDependency as error:
        return error.message
    pytest.skip("litert-torch is installed here")


def test_what_a_target_names_is_left_out_where_it_cannot_be_written(without_converter: str) -> None:
    chosen = select(targets.read("android"), [], [], calibrated=False)
    assert "litert" not in {name.format for name in chosen.variants}
    assert VariantName("ncnn", "fp16") in chosen.variants
    assert f"litert-fp32, litert-fp16, litert-int8 was left out: {without_converter}" in chosen.notes


def test_a_format_that_is_asked_for_is_not_left_out(without_converter: str) -> None:
    message = refusal(
        MissingDependency, lambda: select(targets.read("cpu"), ["onnx", "litert"], [], calibrated=False)
    )
    assert message.startswith(f"{without_converter}\n  help: ")


def test_what_nothing_here_could_prove_is_refused_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if all_runtimes()["executorch"].unavailable_reason() is None:
        pytest.skip("executorch is installed here")
    monkeypatch.setenv("PINNACE_EXECUTORCH_PYTHON", sys.executable)
    message = refusal(
        MissingDependency, lambda: select(targets.read("cpu"), ["executorch"], [], calibrated=False)
    )
    unproved = "executorch cannot be proved here: no runtime that reads it is installed"
    assert message.startswith(f"{unproved}\n  help: ")
    chosen = select(targets.read("android"), [], [], calibrated=False)
    assert f"executorch-fp32 was left out: {unproved}" in chosen.notes


def here(name: str) -> bool:
    """Whether a format can be written and read here."""
    try:
        all_formats()[name].require()
    except (MissingDependency, UsageError):
        return False
    return all_runtimes()[name].unavailable_reason() is None


PAIRS = [(f, p) for f in ("executorch", "litert") for p in all_formats()[f].precisions]
MOST = {"fp32": 1e-5, "fp16": 2e-3, "int8": 3e-2}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), PAIRS)
def test_both_heads_answer_like_the_network(tmp_path: Path, name: str, precision: str) -> None:
    if not here(name):
        pytest.skip(f"docs/edge.md has how to install what writes and runs the files of {name}")
    format = all_formats()[name]
    path = tmp_path / f"{name}-{precision}{format.suffix}"
    written = format.write(graph(precision), path)
    assert written is not None
    assert written.tools
    torch.manual_seed(0)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        wanted = dict(zip(SIGNATURE.output_names, TwoHeads()(images), strict=True))
    with all_runtimes()[name](path, SIGNATURE, RuntimeOptions(threads=1)) as runtime:
        found = runtime.run({"image": images.numpy()})
    for output, answer in wanted.items():
        assert found[output].shape == tuple(answer.shape)
        assert np.abs(found[output] - answer.numpy()).max() <= MOST[precision] * np.ptp(answer.numpy())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), PAIRS)
def test_the_script_writes_a_file_as_well(tmp_path: Path, name: str, precision: str) -> None:
    if not here(name):
        pytest.skip(f"docs/edge.md has how to install what writes and runs the files of {name}")
    format = all_formats()[name]
    lines = format.snippet(VariantName(name, precision), 18)
    network = "model = torch.nn.Conv2d(3, 4, 3).eval()\nexamples = (torch.randn(2, 3, 8, 8),)\n"
    (tmp_path / "script.py").write_text(f"import torch\n\n{network}{lines}")
    python = format.require()
    assert python is not None
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([python, "script.py"], cwd=tmp_path, check=True, capture_output=True, env=clean)
    assert (tmp_path / f"{name}-{precision}{format.suffix}").stat().st_size > 3 * 4 * 9
