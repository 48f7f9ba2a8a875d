"""The script that writes the table of timm families can be taken up again, and compares real values."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "timm_families.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("timm_families", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up in it
    spec.loader.exec_module(module)
    return module


def test_a_run_that_was_cut_off_is_taken_up(script: ModuleType, tmp_path: Path) -> None:
    results = tmp_path / "timm.jsonl"
    first = script.Row(
        "nest", "nest_tiny", 17_000_000, 30, {"onnx-fp32": 1e-6, "torchscript-fp32": 2e-6}, "dynamo"
    )
    script.add(results, first)
    with results.open("a") as file:
        file.write('{"family": "twi')
    second = script.Row("twins", "twins_pcpvt_small", 0, 9, error="not | exported")
    script.add(results, second)
    rows = script.read(results)
    assert rows == {"nest": first, "twins": second}
    assert list(script.waiting(["nest", "twins", "xcit"], rows, 60)) == ["xcit"]
    assert list(script.waiting(["xcit"], rows, 0)) == []
    assert script.table(rows.values()) == (
        "1 of 2 were exported and proved.\n\n"
        "| family | network | weights | written by | largest difference, of the range; or why not |\n"
        "|---|---|---|---|---|\n"
        "| nest | nest_tiny | 17.0 M | `dynamo` | 2.0e-06 |\n"
        "| twins | twins_pcpvt_small | | | not / exported |\n"
    )
    assert (first.good, second.good) == (True, True)
    assert not script.Row("a", "b", 1, 1, error="x", sentence=False).good


def test_weights_that_are_nothing_are_drawn(script: ModuleType) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(16, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    before = network[2].weight.clone()
    with torch.no_grad():
        network[0].weight.zero_()
        network[1].weight.fill_(1e-5)
        network[1].bias.zero_()
    script.draw_what_is_nothing(network)
    assert network[0].weight.abs().mean() > 0.1
    assert 0.1 <= network[1].weight.min() <= network[1].weight.max() <= 0.3
    assert not network[1].bias.any()
    assert torch.equal(network[2].weight, before)
