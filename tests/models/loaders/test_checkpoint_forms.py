"""Checkpoints as training scripts write them: nested, prefixed, averaged, half, with an optimizer beside."""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import http
import io
import json
import pathlib
import struct
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pinnace.models.errors import SourceError
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.fitting import candidates, fit_weights
from pinnace.models.loaders.state_dict import find_weights, plain_state
from pinnace.models.loaders.unpickle import read
from pinnace.models.source import Source
from support.errors import refusal

State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "sample_networks", raising=False)


@pytest.fixture
def loads(tmp_path: Path, workshop: Path, tiny: torch.nn.Module) -> Callable[..., LoadedModel]:
    """Save something, load it into the tiny network, and compare the answers with the original's."""

    def run(content: object, *, exactly: bool = True, zipped: bool = True) -> LoadedModel:
        torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
        source = Source("file", str(tmp_path / "net.pt"))
        loaded = load(LoadRequest(source, "sample_networks:Tiny", folder=str(workshop)))
        assert isinstance(loaded, LoadedModel)
        inputs = torch.randn(2, 3, 16, 16)
        tolerance = 0 if exactly else 0.05
        torch.testing.assert_close(loaded.module(inputs), tiny(inputs), rtol=tolerance, atol=tolerance)
        assert {tensor.dtype for tensor in loaded.module.parameters()} == {torch.float32}
        return loaded

    return run


@pytest.fixture
def state(tiny: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in tiny.state_dict().items()}


Loads = Callable[..., LoadedModel]


@pytest.mark.parametrize(
    "place", ["state_dict", "model", "model_state_dict", "ema", "model_ema", "net", "params", "my_own_word"]
)
def test_weights_beside_other_things(loads: Loads, state: State, place: str) -> None:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    loaded = loads({"epoch": 3, "optimizer": optimizer, place: state, "best": 0.7})
    assert loaded.notes == (f"the weights were taken from '{place}'",)


def test_weights_two_levels_down(loads: Loads, state: State) -> None:
    assert loads({"model": {"state_dict": state}}).notes == (
        "the weights were taken from 'model.state_dict'",
    )


def test_plain_weights_come_before_averaged_ones_and_both_are_named(loads: Loads, state: State) -> None:
    averaged = {name: value * 0 for name, value in state.items()}
    loaded = loads({"ema": averaged, "model": state})
    assert loaded.notes == ("the weights were taken from 'model'; the file also holds 'ema'",)


def test_what_training_scripts_put_beside_the_weights_is_no_code(loads: Loads, state: State) -> None:
    for zipped in (True, False):
        loads(
            {
                "args": argparse.Namespace(lr=0.1, out=pathlib.PosixPath("/runs/1")),
                "config": types.SimpleNamespace(depth=3),
                "accuracy": np.float64(0.7),
                "loss": np.float32(0.1),
                "history": np.arange(3.0),
                "counts": collections.Counter("abc"),
                "model": collections.OrderedDict(state),
            },
            zipped=zipped,
        )


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "model.", "x."],
)
def test_prefixes_of_wrappers(loads: Loads, state: State, prefix: str) -> None:
    loads({f"{prefix}{name}": value for name, value in state.items()})


def test_a_prefix_within_the_names(loads: Loads, state: State) -> None:
    loads({name.replace("head.", "head._orig_mod."): value for name, value in state.items()})


def test_averaged_weights_of_torch_bring_their_counter(loads: Loads, tiny: torch.nn.Module) -> None:
    loads(torch.optim.swa_utils.AveragedModel(tiny).state_dict())


def test_a_prefix_that_belongs_to_the_network_stays() -> None:
    state = {"module.a": torch.ones(1), "module.b": torch.ones(1)}
    assert next(candidates(state, state)).weights.keys() == state.keys()


def test_a_first_part_is_dropped_only_where_everything_fits_without_it() -> None:
    network = torch.nn.Module()
    network.a = torch.nn.Parameter(torch.ones(1))
    state = {"model.a": torch.ones(1), "model.b": torch.ones(1)}
    message = refusal(SourceError, lambda: fit_weights(network, state, Path("net.pt")))
    assert message.startswith("net.pt does not fit the network: 1 unexpected (b [1])")


def test_old_names_of_densenet() -> None:
    from torchvision.models import densenet121

    wanted = densenet121().state_dict()
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2") if "denselayer" in name else name: value
        for name, value in wanted.items()
        if not name.endswith("num_batches_tracked")
    }
    network = densenet121()
    assert fit_weights(network, old, Path("net.pth")) == ()
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(loads: Loads, state: State, dtype: torch.dtype) -> None:
    cast = {name: v.to(dtype) if v.is_floating_point() else v for name, v in state.items()}
    loads({"model": cast}, exactly=dtype == torch.float64)


def test_checkpoints_from_before_batch_norm_counted(loads: Loads, state: State) -> None:
    del state["norm.num_batches_tracked"]
    loads(state, zipped=False)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_weights_that_were_saved_on_a_gpu(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    # There is no GPU to save from: the tag that torch writes for a storage's place is replaced.
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:1")
    torch.save(state, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    if zipped:
        with zipfile.ZipFile(tmp_path / "net.pt") as archive:
            assert b"cuda:1" in archive.read("net/data.pkl")
    found, _ = find_weights(read(tmp_path / "net.pt"), tmp_path)
    assert all(torch.equal(found[name], state[name]) for name in state)  # type: ignore[index]


def test_safetensors(tmp_path: Path, workshop: Path, tiny: torch.nn.Module) -> None:
    save_file(tiny.state_dict(), tmp_path / "net.safetensors")
    source = Source("file", str(tmp_path / "net.safetensors"))
    loaded = load(LoadRequest(source, "sample_networks:Tiny", folder=str(workshop)))
    assert isinstance(loaded, LoadedModel)
    inputs = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded.module(inputs), tiny(inputs))


@pytest.mark.parametrize("data", [b"x", b"\xff" * 100, b"\x08\0\0\0\0\0\0\0notjson!", b"\2\0\0\0\0\0\0\0{}"])
def test_damaged_safetensors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    message = refusal(SourceError, lambda: find_weights(read(path), path))
    assert message.startswith((f"{path} cannot be read as safetensors: ", f"{path} is not a state_dict"))


def test_safetensors_under_the_name_of_a_pickle(tmp_path: Path, state: State) -> None:
    path = tmp_path / "pytorch_model.bin"
    save_file(dict(state), path)
    found, _ = find_weights(read(path), path)
    assert all(torch.equal(found[name], state[name]) for name in state)  # type: ignore[index]


@pytest.mark.parametrize(
    "weight",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 40]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1 << 32, 1 << 32, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        {"dtype": "Q4", "shape": [2], "data_offsets": [0, 8]},
    ],
)
def test_safetensors_whose_header_lies(tmp_path: Path, weight: object) -> None:
    header = json.dumps({"stem.weight": weight}).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    message = refusal(SourceError, lambda: read(path))
    assert message.startswith(f"{path} cannot be read as safetensors: ")
    assert len(message.splitlines()) == 1


def test_a_weight_that_claims_to_be_huge_is_not_looked_at(loads: Loads, state: State) -> None:
    state["stem.weight"] = torch.zeros(1, dtype=torch.float16).expand(1 << 30, 1 << 20)
    message = refusal(SourceError, lambda: loads(state))
    assert "1 of another shape (stem.weight [1073741824,1048576] instead of [" in message


def test_a_precision_that_torch_cannot_read(tmp_path: Path, workshop: Path) -> None:
    header = json.dumps({"stem.weight": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    found, _ = find_weights(read(path), path)
    assert isinstance(found, dict)
    message = refusal(SourceError, lambda: plain_state(found, path))
    assert message.startswith(f"the weight stem.weight in {path} cannot be read as numbers")


def test_a_file_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(bytes(5000))
    assert refusal(SourceError, lambda: read(path)) == (
        f"{path} cannot be read as a checkpoint: it is not a pickle of tensors"
    )


def test_another_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert refusal(SourceError, lambda: read(path)) == (
        f"{path} cannot be read as a checkpoint: file in archive is not in a subdirectory: readme.txt"
    )


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch._empty_affine_quantized([3, 3], scale=0.1, zero_point=0, dtype=torch.quint8), "quantized"),
        (torch.empty(3, 3, device="meta"), "without values"),
    ],
)
def test_weights_of_another_kind(tmp_path: Path, weight: torch.Tensor, what: str) -> None:
    message = refusal(SourceError, lambda: plain_state({"head.weight": weight}, tmp_path))
    assert message == (
        f"the weight head.weight in {tmp_path} is {what}\n  expected: a dense tensor of numbers"
    )


def test_a_complex_weight_for_a_real_one(tmp_path: Path, loads: Loads, state: State) -> None:
    state["stem.weight"] = state["stem.weight"].to(torch.complex64)
    assert refusal(SourceError, lambda: loads(state)) == (
        f"the weight stem.weight in {tmp_path}/net.pt is complex, and the network's is real"
    )


def test_the_oldest_format_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "net.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "storages")
    assert refusal(SourceError, lambda: read(path)) == (
        f"{path} cannot be read as a checkpoint: it is a tar archive, as torch wrote before version 0.4"
    )


class Spring:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pathlib.Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "beside",
    [
        functools.partial(torch.optim.SGD, lr=0.1),
        torch.nn.CrossEntropyLoss(torch.ones(3)),
        torch.nn.Linear(2, 2),
        collections.defaultdict(list, {"loss": [1.0]}),
        (datetime.datetime.now(), datetime.timedelta(1), http.HTTPStatus.OK, json.dumps, {1, 2}),
        (np.random.default_rng(0).integers(0, 9, 3, np.uint32), np.str_("best"), np.datetime64("2026-01-01")),
        pathlib.Path("weights"),
    ],
    ids=["partial", "loss", "network", "defaultdict", "objects", "numpy", "path"],
)
def test_objects_beside_the_weights_are_read_as_data(loads: Loads, state: State, beside: object) -> None:
    loaded = loads({"state_dict": state, "hyper_parameters": {"it": beside}})
    assert loaded.notes == ("the weights were taken from 'state_dict'",)


def test_weights_first_in_a_tuple(loads: Loads, state: State) -> None:
    assert loads((state, {"epoch": 3})).notes == ("the weights were taken from '0'",)


@pytest.mark.parametrize("module", ["pathlib._local", "pathlib"])
def test_paths_of_windows_and_of_a_later_python(tmp_path: Path, state: State, module: str) -> None:
    windows = type("WindowsPath", (pathlib.PurePosixPath,), {"__module__": "pathlib"})
    later = type("PosixPath", (pathlib.PurePosixPath,), {"__module__": module})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pathlib, "WindowsPath", windows)
        patch.setattr(pathlib, "PosixPath", later)
        patch.setitem(sys.modules, "pathlib._local", pathlib)
        for name, path in (("windows.pt", windows("a")), ("later.pt", later("a"))):
            torch.save({"model": state, "args": {"save_dir": path}}, tmp_path / name)
    sys.modules.pop("pathlib._local", None)
    for name in ("windows.pt", "later.pt"):
        for trust in (False, True):
            assert read(tmp_path / name, trust=trust)["model"].keys() == state.keys()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("depth", [1, 3])
def test_code_deep_within_a_checkpoint_does_not_run(
    tmp_path: Path, state: State, zipped: bool, depth: int
) -> None:
    content: object = Spring(tmp_path / "sprung")
    for _ in range(depth):
        content = {"args": content}
    torch.save({"model": state, "more": content}, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    message = refusal(SourceError, lambda: read(tmp_path / "net.pt"))
    assert "and loading it could run code, so nothing was loaded" in message
    assert not (tmp_path / "sprung").exists()


def test_code_that_hides_in_the_name_of_a_zip_entry_or_in_a_nested_file_does_not_run(tmp_path: Path) -> None:
    inner = io.BytesIO()
    torch.save(Spring(tmp_path / "sprung"), inner)
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        for name in ("net/data.pkl", "net/version", "net/byteorder", "../../data.pkl"):
            archive.writestr(name, inner.getvalue())
    refusal(SourceError, lambda: read(tmp_path / "net.pt"))
    assert not (tmp_path / "sprung").exists()


def test_a_network_that_the_saving_script_defined_itself(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    network.__class__ = type("Net", (torch.nn.Linear,), {"__module__": "__main__"})
    sys.modules["__main__"].Net = type(network)  # type: ignore[attr-defined]
    try:
        torch.save(network, tmp_path / "whole.pt")
    finally:
        del sys.modules["__main__"].Net  # type: ignore[attr-defined]
    path = tmp_path / "whole.pt"
    assert refusal(SourceError, lambda: read(path, trust=True)) == (
        f"unpickling {path} fails: it was saved by a script that defined the network itself\n"
        "  help: move the class into a module of its own and save again, "
        "or save model.state_dict() and use --arch"
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_packed_again_is_read_as_torch_reads_it(tmp_path: Path, method: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 200, (8,), generator=generator).tolist()
    content = {f"layer{n}.weight": torch.randn(size, generator=generator) for n, size in enumerate(sizes)}
    torch.save(content, tmp_path / "as_saved.pt")
    with (
        zipfile.ZipFile(tmp_path / "as_saved.pt") as saved,
        zipfile.ZipFile(tmp_path / "again.pt", "w", method) as again,
    ):
        for member in saved.infolist():
            again.writestr(member.filename, saved.read(member))
    have = read(tmp_path / "again.pt")
    assert {name: tensor.tolist() for name, tensor in have.items()} == {
        name: tensor.tolist() for name, tensor in content.items()
    }


def packed_again(tmp_path: Path) -> tuple[Path, int]:
    """A checkpoint that an archiver has compressed, and where the bytes of its one tensor begin."""
    torch.save({"weight": torch.arange(500.0)}, tmp_path / "as_saved.pt")
    path = tmp_path / "again.pt"
    with (
        zipfile.ZipFile(tmp_path / "as_saved.pt") as saved,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as again,
    ):
        for member in saved.infolist():
            again.writestr(member.filename, saved.read(member))
    with zipfile.ZipFile(path) as again:
        tensor = next(member for member in again.infolist() if member.filename.endswith("data/0"))
    return path, tensor.header_offset + 30 + len(tensor.filename)


@pytest.mark.parametrize("damage", ["bytes", "checksum", "folder"])
def test_a_compressed_archive_that_is_damaged_is_refused(tmp_path: Path, damage: str) -> None:
    path, begin = packed_again(tmp_path)
    assert torch.equal(read(path)["weight"], torch.arange(500.0))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.index(b"data/0", data.index(b"PK\x01\x02")))
    if damage == "bytes":
        data[begin + 5 : begin + 60] = bytes(55)
    elif damage == "checksum":
        data[entry + 16] ^= 1
    else:
        data[entry + 38] |= 0x10
    path.write_bytes(data)
    # torch would read the tensor, and give what happened to be in memory.
    assert refusal(SourceError, read, path).startswith(f"{path} cannot be read as a checkpoint: ")


def test_a_member_that_is_not_where_the_directory_says_is_not_mapped(tmp_path: Path) -> None:
    path = tmp_path / "saved.pt"
    torch.save({"weight": torch.arange(500.0)}, path)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.index(b"data/0", data.index(b"PK\x01\x02")))
    data[entry + 43] ^= 1
    path.write_bytes(data)
    with pytest.raises(RuntimeError):
        torch.load(path, weights_only=True)
    assert refusal(SourceError, read, path).startswith(f"{path} cannot be read as a checkpoint: ")


def test_an_archive_that_torch_cannot_read_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "as_saved.pt")
    with (
        zipfile.ZipFile(tmp_path / "as_saved.pt") as saved,
        zipfile.ZipFile(tmp_path / "again.pt", "w", zipfile.ZIP_LZMA) as again,
    ):
        for member in saved.infolist():
            again.writestr(member.filename, saved.read(member))
    assert "cannot be read as a checkpoint" in refusal(SourceError, read, tmp_path / "again.pt")
