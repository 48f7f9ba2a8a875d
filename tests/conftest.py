"""What tests of every folder are given: real exports, a real server, the command line. Read only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.colours import export_project, make_project
from support.command_line import PINNACE, CommandLine
from support.ports import free_port
from support.server import Server, clean_environment
from support.stub_server import Stub, run_stub
from support.warm_export.children import Template, forking

if TYPE_CHECKING:
    import torch

    from pinnace.export.request import ExportRequest
    from pinnace.models.bundle.bundle import Bundle

PREPROCESS = """
resize = [16, 16]
crop = [16, 16]
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.3, 0.4]
"""


@pytest.fixture(scope="session", autouse=True)
def warm_exports() -> Iterator[Template]:
    """Children of exports are forked from an interpreter that has imported torch; see `real_children`."""
    template = Template()
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("torch") is not None and sys.platform == "linux":
            from pinnace.export.worker import spawn

            patch.setattr(spawn, "subprocess", forking(template))
        yield template
    template.stop()


@pytest.fixture
def real_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of exports are interpreters that start from nothing, as they are for a user."""
    from pinnace.export.worker import spawn

    monkeypatch.setattr(spawn, "subprocess", subprocess)


@pytest.fixture(scope="session")
def tiny() -> torch.nn.Module:
    """The tiny network in eval mode, with statistics that make train mode answer otherwise."""
    import torch

    from support.sample_networks import Tiny

    network = Tiny()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        network.stem.weight -= 0.6
        network.head.weight -= 0.6
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny: torch.nn.Module) -> Path:
    """A user's folder: `sample_networks.py`, its checkpoint `tiny.pt` and `preprocess.toml`. Read only."""
    import torch

    from support import sample_networks

    folder = tmp_path_factory.mktemp("workshop")
    shutil.copy(sample_networks.__file__, folder)
    torch.save(tiny.state_dict(), folder / "tiny.pt")
    (folder / "preprocess.toml").write_text(PREPROCESS)
    return folder


@pytest.fixture(scope="session")
def tiny_request(workshop: Path) -> ExportRequest:
    """What exports the tiny network in fp32, in every format that a runtime of this machine can prove."""
    from pinnace.export.formats import all_formats
    from pinnace.export.preprocessing import read_changes
    from pinnace.export.request import ExportRequest
    from pinnace.models.loaders.base import imagenet_preprocess
    from pinnace.models.runtimes import runtimes_for
    from pinnace.models.variant_name import VariantName
    from support.preprocessing import as_changes

    formats = [
        format.name
        for format in all_formats().values()
        if "fp32" in format.precisions
        and format.name not in ("executorch", "litert")  # have tests of their own
        and any(r.unavailable_reason() is None for r in runtimes_for(format.name))
    ]
    return ExportRequest(
        source="file:tiny.pt",
        # ncnn's last: what answers by default is the first that runs.
        variants=tuple(VariantName(name, "fp32") for name in sorted(formats, key="ncnn".__eq__)),
        opset=18,
        arch="sample_networks:Tiny",
        changes=as_changes(read_changes(workshop / "preprocess.toml").apply(imagenet_preprocess())),
        folder=str(workshop),
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_request: ExportRequest) -> Bundle:
    """The tiny network, exported through a child interpreter. Read only."""
    from pinnace.export import targets
    from pinnace.export.exporter import export_bundle

    out = tmp_path_factory.mktemp("exported") / "tiny.bundle"
    return export_bundle(tiny_request, targets.read("cpu"), out)


@pytest.fixture
def own_copy(exported: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the exported bundle that a test may damage."""
    from pinnace.models.bundle.bundle import Bundle

    return Bundle.open(shutil.copytree(exported.folder, tmp_path / "tiny.bundle"))


@pytest.fixture(scope="session")
def precisions(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The exported bundle with `onnx-fp16` and `onnx-int8` beside `onnx-fp32`. Read only."""
    import dataclasses

    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.bundle.measurements import Tolerance
    from pinnace.models.files import sha256

    class Golden(CalibrationDataReader):
        def __init__(self, arrays: object) -> None:
            self.feeds = iter([{"input": array[None]} for array in arrays])  # type: ignore[attr-defined]

        def get_next(self) -> dict[str, object] | None:
            return next(self.feeds, None)

    folder = shutil.copytree(exported.folder, tmp_path_factory.mktemp("precisions") / "tiny.bundle")
    fp32 = exported.variant("onnx-fp32")
    source = folder / fp32.file
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), folder / "onnx-fp16.onnx")
    settings = {"quant_format": QuantFormat.QDQ, "per_channel": True, "weight_type": QuantType.QInt8}
    # TensorRT reads no int32 behind a DequantizeLinear, so the biases stay fp32.
    extra = {"ActivationSymmetric": True, "QuantizeBias": False}
    settings |= {"activation_type": QuantType.QInt8, "extra_options": extra}
    quantize_static(source, folder / "onnx-int8.onnx", Golden(exported.golden()[0]["input"]), **settings)
    added = [
        dataclasses.replace(
            fp32,
            name=f"onnx-{precision}",
            precision=precision,
            file=f"onnx-{precision}.onnx",
            sha256=sha256(folder / f"onnx-{precision}.onnx"),
            bytes=(folder / f"onnx-{precision}.onnx").stat().st_size,
            tolerance=tolerance,
        )
        for precision, tolerance in (("fp16", Tolerance(max_rel=0.02)), ("int8", Tolerance(min_cosine=0.9)))
    ]
    manifest = dataclasses.replace(exported.manifest, variants=(*exported.manifest.variants, *added))
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return Bundle.open(folder)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a network of five colours, its checkpoint, labels. Read only."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def bundle(project: Path) -> Path:
    """The project's bundle, with every variant that is exported by default. Read only."""
    return export_project(project)


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server of that bundle, with the settings that it has by default."""
    home = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [*PINNACE, "serve", str(bundle), "--port", str(port)]
    server = Server.start(command, port, home / "log", env=clean_environment(home / "bentoml"))
    try:
        server.wait_until_ready(90)
        yield server
    finally:
        server.stop()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server that answers what the test tells it to."""
    with run_stub() as stub:
        yield stub


@pytest.fixture
def nobody() -> str:
    """The URL of a port that nothing listens on."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of `bench` is warm after three windows that agree; here each is a tenth as long as usual."""
    from pinnace.latency import measure

    monkeypatch.setattr(measure, "WINDOW_S", measure.WINDOW_S / 10)


@pytest.fixture
def pinnace(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run the command line in this process."""
    return CommandLine(capsys)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: what two processes still have to do at the end is in small pieces."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
