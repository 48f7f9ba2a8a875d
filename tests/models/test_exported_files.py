"""Files that others exported: told apart by content, loaded where that is safe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pinnace.models.errors import PinnaceError, SourceError, UsageError
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest, OnnxFile
from pinnace.models.loaders.file import kind_of
from pinnace.models.signature import TensorSpec
from pinnace.models.source import Source

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


def refusal(kind: type[PinnaceError], act: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return str(caught.value)


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


def test_torchscript_that_touches_files_has_to_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "thief.pt"
    torch.jit.save(torch.jit.script(Thief()), path)
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
