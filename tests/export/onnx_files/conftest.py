"""The network as ONNX, and its export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

from pinnace.export import targets
from pinnace.export.exporter import Evidence, export_bundle
from pinnace.export.request import ExportRequest
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.variant_name import VariantName
from support.onnx_files import write
from support.small_networks import build

Export: TypeAlias = Callable[..., Bundle]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    net = build(4).eval()
    with torch.no_grad():
        net[4].weight *= 20
    return net


@pytest.fixture(scope="module")
def plain(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX of opset 13, which takes 0..1 of any batch."""
    path = tmp_path_factory.mktemp("onnx") / "plain.onnx"
    write(network, path, 13)
    return path


@pytest.fixture
def export(tmp_path: Path) -> Export:
    cpu = targets.read("cpu")

    def run(path: Path, *variants: str, evidence: Evidence | None = None, **changes: Any) -> Bundle:
        names = tuple(map(VariantName.parse, variants or ("onnx-fp32",)))
        request = ExportRequest(f"file:{path}", names, 18)
        request = dataclasses.replace(request, **changes)
        return export_bundle(request, cpu, tmp_path / "out.bundle", evidence=evidence)

    return run
