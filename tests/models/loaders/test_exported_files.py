"""Files that others exported: told apart by content, loaded where that is safe."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision  # noqa: F401 -- its operators are called below

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import SourceError, UsageError
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest, OnnxFile
from pinnace.models.loaders.file_kinds import kind_of
from pinnace.models.source import Source
from support.errors import refusal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CODE = "if you trust its author, add --trust: the code then runs with all your rights"


@pytest.fixture(scope="module")
def exported_by_others(tmp_path_factory: pytest.TempPathFactory, tiny: torch.nn.Module) -> Path:
    """The tiny network as others would bring it."""
    folder = tmp_path_factory.mktemp("others")
    inputs = torch.randn(2, 3, 16, 16)
    torch.jit.save(torch.jit.trace(tiny, inputs), folder / "traced.pt")
    dynamic = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(tiny, (inputs,), dynamic_shapes=dynamic), folder / "program.pt2")
    torch.save(tiny.state_dict(), folder / "weights.pt")
    (folder / "net.onnx").write_bytes(b"whatever")
    return folder


def load_file(path: Path, **options: object) -> LoadedModel:
    loaded = load(LoadRequest(Source("file", str(path)), **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


def test_files_are_told_apart_by_their_content(exported_by_others: Path, tmp_path: Path) -> None:
    kinds = {"traced.pt": "torchscript", "program.pt2": "program", "weights.pt": "checkpoint"}
    for name, kind in kinds.items():
        renamed = tmp_path / f"{name}.bin"
        renamed.write_bytes((exported_by_others / name).read_bytes())
        assert kind_of(renamed) == kind
    assert kind_of(exported_by_others / "net.onnx") == "onnx"


def test_torchscript(exported_by_others: Path, tiny: torch.nn.Module) -> None:
    loaded = load_file(exported_by_others / "traced.pt")
    inputs = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(loaded.module(inputs), tiny(inputs))
    assert loaded.exported
    assert (loaded.preprocess, loaded.labels, loaded.inputs) == (None, None, None)


def test_a_program_of_torch_export_runs_code_and_so_has_to_be_trusted(
    exported_by_others: Path, tiny: torch.nn.Module
) -> None:
    path = exported_by_others / "program.pt2"
    assert refusal(UsageError, lambda: load_file(path)) == (
        f"{path} is a program of torch.export, which can run code when it is read, "
        f"and nothing of it was run\n  help: {CODE}"
    )
    loaded = load_file(path, trust=True)
    assert loaded.inputs == (TensorSpec("x", "float32", ("batch", 3, 16, 16)),)
    inputs = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(loaded.module(inputs), tiny(inputs))


def test_onnx_needs_no_torch(exported_by_others: Path) -> None:
    path = exported_by_others / "net.onnx"
    assert load(LoadRequest(Source("file", str(path)))) == OnnxFile(path)


@pytest.mark.parametrize("name", ["traced.pt", "program.pt2", "net.onnx"])
def test_what_is_a_network_already_takes_no_arch(exported_by_others: Path, name: str) -> None:
    path = exported_by_others / name
    message = refusal(UsageError, lambda: load_file(path, arch="net:build"))
    assert message == f"--arch does not apply to file:{path}"
    message = refusal(UsageError, lambda: load_file(path, arguments={"width": 3}))
    assert message == f"--arg does not apply to file:{path}"


class Thief(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_file("/etc/hostname", False, 4, dtype=torch.uint8) + x


class Reader(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.image.read_file("/etc/hostname") + x  # type: ignore[no-any-return]


def rewrite(path: Path, new: Callable[[str, bytes], tuple[str, bytes]]) -> None:
    """Write the entries of an archive again, with other names and contents."""
    with zipfile.ZipFile(path) as archive:
        entries = [new(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)


def in_capitals(path: Path) -> None:
    def capital(name: str, data: bytes) -> tuple[str, bytes]:
        return (name.replace("/code/", "/CODE/") if name.endswith(".py") else name), data

    rewrite(path, capital)


def with_wrong_checksums(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\1\2")
    while at >= 0:
        data[at + 16] ^= 0xFF
        at = data.find(b"PK\1\2", at + 1)
    path.write_bytes(data)


def with_a_second_directory(path: Path) -> None:
    """What `zipfile` reads stands at the end; what libtorch reads, at the offset that is written there."""

    def parts(data: bytes) -> tuple[bytes, bytes, bytearray]:
        end = data.rfind(b"PK\5\6")
        size, start = struct.unpack("<II", data[end + 12 : end + 20])
        return data[:start], data[start : start + size], bytearray(data[end:])

    bad_body, bad, end = parts(path.read_bytes())
    rewrite(path, lambda name, data: (name, data.replace(b"from_file", b"something")))
    body, good, _ = parts(path.read_bytes())
    end[12:20] = struct.pack("<II", len(good), len(bad_body))
    path.write_bytes(bad_body + bad.ljust(len(good), b"\0") + body + good + end)


def under_another_name(path: Path) -> None:
    def renamed(name: str, data: bytes) -> tuple[str, bytes]:
        return name, data.replace(b"torch.from_file(", b'getattr(torch, "from_" "file")(')

    rewrite(path, renamed)


@pytest.mark.parametrize(
    "hide", [in_capitals, with_wrong_checksums, with_a_second_directory, under_another_name]
)
def test_torchscript_cannot_hide_that_it_touches_files(tmp_path: Path, hide: Callable[[Path], None]) -> None:
    path = tmp_path / "thief.pt"
    torch.jit.save(torch.jit.script(Thief()), path)
    hide(path)
    assert refusal(UsageError, lambda: load_file(path)).startswith(
        f"{path} holds code that reads or writes files, and nothing of it was run"
    )


def test_parts_of_a_sequential_are_no_reason_for_suspicion(tmp_path: Path) -> None:
    inner = torch.nn.Sequential(torch.nn.Sequential(torch.nn.ReLU()), torch.nn.ReLU())
    path = tmp_path / "nested.pt"
    torch.jit.save(torch.jit.script(inner), path)
    assert load_file(path).exported


@pytest.mark.parametrize("network", [Thief, Reader])
def test_torchscript_that_touches_files_has_to_be_trusted(
    tmp_path: Path, network: Callable[[], torch.nn.Module]
) -> None:
    path = tmp_path / "thief.pt"
    torch.jit.save(torch.jit.script(network()), path)
    assert refusal(UsageError, lambda: load_file(path)) == (
        f"{path} holds code that reads or writes files, and nothing of it was run\n  help: {CODE}"
    )
    assert load_file(path, trust=True).exported


@pytest.mark.parametrize("name", ["traced.pt", "program.pt2"])
def test_damaged_files(exported_by_others: Path, tmp_path: Path, name: str) -> None:
    data = (exported_by_others / name).read_bytes()
    path = tmp_path / name
    for damaged in (data[: len(data) // 2], data[:4], data[:500] + bytes(300) + data[800:], b"PK\3\4" * 9):
        path.write_bytes(damaged)
        message = refusal(SourceError, lambda: load_file(path, trust=True))
        assert message.startswith(f"{path} ")
        assert len(message.splitlines()[0]) < 300
    path.write_bytes(b"")
    assert refusal(SourceError, lambda: load_file(path)) == f"{path} is empty"


class OnGpu(torch.nn.Module):
    """Scripted or traced on a machine with a GPU, it names that GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shift = torch.ones(3, device=torch.device("cuda:1"))
        if bool(x.sum() > 1e9):
            shift = shift.to("cuda")
        return self.inner(x).mean((2, 3)).cuda() + shift


def test_a_gpu_that_a_script_names_is_taken_out(tmp_path: Path) -> None:
    network = OnGpu().eval()
    torch.jit.save(torch.jit.script(network), tmp_path / "gpu.pt")
    loaded = load(LoadRequest(Source("file", str(tmp_path / "gpu.pt"))))
    assert isinstance(loaded, LoadedModel)
    assert loaded.notes == ("the script named cuda and cuda:1; in the bundle it runs where its input is",)
    inputs = torch.randn(2, 3, 8, 8)
    expected = network.inner(inputs).mean((2, 3)) + 1
    torch.testing.assert_close(loaded.module(inputs), expected)
    torch.jit.save(loaded.module, tmp_path / "again.pt")
    torch.testing.assert_close(torch.jit.load(tmp_path / "again.pt")(inputs), expected)


def test_a_gpu_that_a_program_names_is_taken_out(tmp_path: Path) -> None:
    class Shifted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) + torch.ones(3, device=x.device)

    program = torch.export.export(Shifted(), (torch.randn(2, 3, 8, 8),))
    for node in program.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": torch.device("cuda:0")}
    torch.export.save(program, tmp_path / "gpu.pt2")
    loaded = load(LoadRequest(Source("file", str(tmp_path / "gpu.pt2")), trust=True))
    assert isinstance(loaded, LoadedModel)
    assert loaded.notes == ("the program named cuda:0; in the bundle it runs on the CPU",)
    inputs = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(loaded.module(inputs), inputs.mean((2, 3)) + 1)


def test_a_script_that_torch_does_not_read_back(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval()
    torch.jit.optimize_for_inference(torch.jit.script(net)).save(str(tmp_path / "net.pt"))
    request = LoadRequest(Source("file", "net.pt"), folder=str(tmp_path))
    message = refusal(SourceError, lambda: load(request))
    assert message.endswith("torch.jit.optimize_for_inference has changed: save the model without it")
