"""Checkpoints on disk: loaded strictly into the network that `--arch` builds; nothing in them is executed."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pinnace.models.errors import CheckFailed, MissingDependency, SourceError, UsageError
from pinnace.models.install import install_packages
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.state_dict import find_weights, plain_state
from pinnace.models.loaders.unpickle import read
from pinnace.models.source import Source
from support.errors import refusal

State = dict[str, torch.Tensor]
ARCH = "sample_networks:Tiny"
REFUSED = (
    "and loading it could run code, so nothing was loaded\n"
    "  expected: a state_dict of tensors\n"
    "  help: save it again with torch.save(model.state_dict(), PATH); "
    "or, if you trust its author, add --trust"
)


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader adds the caller's folder to the path of its own interpreter; here that is undone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "sample_networks", raising=False)


@pytest.fixture
def state(tiny: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in tiny.state_dict().items()}


def load_file(
    path: Path, workshop: Path, arch: str | None = ARCH, num_classes: int | None = None, **options: object
) -> LoadedModel:
    request = LoadRequest(Source("file", str(path)), arch, num_classes, str(workshop), **options)  # type: ignore[arg-type]
    loaded = load(request)
    assert isinstance(loaded, LoadedModel)
    return loaded


def read_state_dict(path: Path) -> State:
    return plain_state(dict(find_weights(read(path), path)[0]), path)  # type: ignore[call-overload]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_state_dict_is_loaded_into_the_network_that_arch_builds(
    tmp_path: Path, workshop: Path, tiny: torch.nn.Module, zipped: bool
) -> None:
    torch.save(tiny.state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    loaded = load_file(tmp_path / "net.pt", workshop)
    inputs = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded.module(inputs), tiny(inputs))
    assert not loaded.module.training
    assert (loaded.preprocess, loaded.labels, loaded.notes) == (None, None, ())


def test_a_path_is_relative_to_the_folder_of_the_caller(workshop: Path) -> None:
    assert load_file(Path("tiny.pt"), workshop).module.head.out_features == 5


def test_a_path_may_begin_with_the_home_folder(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workshop))
    state = read_state_dict(workshop / "tiny.pt")
    loaded = load_file(Path("~/tiny.pt"), workshop)
    assert torch.equal(loaded.module.state_dict()["head.bias"], state["head.bias"])


def test_half_precision_weights_become_float32(tmp_path: Path, workshop: Path, state: State) -> None:
    torch.save({n: v.half() if v.is_floating_point() else v for n, v in state.items()}, tmp_path / "half.pt")
    module = load_file(tmp_path / "half.pt", workshop).module
    assert {v.dtype for v in module.state_dict().values()} == {torch.float32, torch.int64}


def test_num_classes_is_handed_to_the_factory(tmp_path: Path, workshop: Path, state: State) -> None:
    state["head.weight"], state["head.bias"] = torch.ones(9, 6), torch.ones(9)
    torch.save(state, tmp_path / "nine.pt")
    assert load_file(tmp_path / "nine.pt", workshop, num_classes=9).module.head.out_features == 9
    message = refusal(SourceError, lambda: load_file(tmp_path / "nine.pt", workshop))
    assert message == (
        f"{tmp_path}/nine.pt does not fit the network: "
        "2 of another shape (head.weight [9,6] instead of [5,6], head.bias [9] instead of [5])\n"
        "  help: check --arch and --num-classes"
    )


def test_a_torchvision_network_takes_a_checkpoint(tmp_path: Path, workshop: Path) -> None:
    import torchvision

    network = torchvision.models.squeezenet1_1(num_classes=4).eval()
    torch.save(network.state_dict(), tmp_path / "s.pt")
    loaded = load_file(tmp_path / "s.pt", workshop, "torchvision:squeezenet1_1", num_classes=4)
    inputs = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.module(inputs), network(inputs))
    assert loaded.preprocess is not None
    assert loaded.labels is None
    assert loaded.notes == ()


def test_keys_that_are_missing_or_unexpected_or_of_another_shape_are_counted_and_named(
    tmp_path: Path, workshop: Path, state: State
) -> None:
    del state["stem.bias"], state["norm.weight"]
    state["extra"] = torch.ones(2, 3)
    state["head.bias"] = torch.ones(4)
    torch.save(state, tmp_path / "net.pt")
    assert refusal(SourceError, lambda: load_file(tmp_path / "net.pt", workshop)) == (
        f"{tmp_path}/net.pt does not fit the network: 2 missing (stem.bias [6], norm.weight [6]); "
        "1 unexpected (extra [2,3]); 1 of another shape (head.bias [4] instead of [5])\n"
        "  help: check --arch and --num-classes"
    )


def test_of_many_keys_only_the_first_are_named(tmp_path: Path, workshop: Path, state: State) -> None:
    torch.save({f"my.{name}x": value for name, value in state.items()}, tmp_path / "net.pt")
    message = refusal(SourceError, lambda: load_file(tmp_path / "net.pt", workshop))
    assert "8 missing (stem.weight [6,3,3,3], stem.bias [6], norm.weight [6], norm.bias [6], " in message
    assert "norm.running_mean [6], ...); 9 unexpected (my.stem.weightx [6,3,3,3]," in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_named(
    tmp_path: Path, workshop: Path, state: State, value: float
) -> None:
    state["norm.running_var"][3] = value
    torch.save(state, tmp_path / "net.pt")
    assert refusal(CheckFailed, lambda: load_file(tmp_path / "net.pt", workshop)) == (
        f"the weight norm.running_var in {tmp_path}/net.pt is not finite: it holds NaN or infinity"
    )


@pytest.mark.parametrize("values", [[float("inf")] * 6, [-float("inf"), 0, 0, -float("inf"), 0, 0]])
def test_bounds_and_masks_may_be_infinite(
    tmp_path: Path, workshop: Path, state: State, values: list[float]
) -> None:
    state["norm.running_var"][:] = torch.tensor(values)
    torch.save(state, tmp_path / "net.pt")
    assert load_file(tmp_path / "net.pt", workshop)


def test_a_missing_file(tmp_path: Path, workshop: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        message = refusal(SourceError, lambda path=path: load_file(path, workshop))
        assert message == f"there is no file {path}"


def test_weights_without_arch(workshop: Path) -> None:
    assert refusal(UsageError, lambda: load_file(Path("tiny.pt"), workshop, None)) == (
        "file:tiny.pt holds weights, not a network\n"
        "  help: say what builds the network: "
        "--arch package.module:factory or --arch torchvision:resnet18"
    )


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "net.pt").touch()
    assert refusal(SourceError, lambda: read_state_dict(tmp_path / "net.pt")) == f"{tmp_path}/net.pt is empty"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_damaged_files_are_refused_by_us_and_not_by_torch(tmp_path: Path, state: State, zipped: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    rng = random.Random(0)
    cut = [data[: rng.randrange(1, len(data))] for _ in range(60)]
    noise = [rng.randbytes(rng.randrange(1, 200)) for _ in range(60)]
    flipped = []
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(3):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        flipped.append(bytes(changed))
    for damaged in cut + noise:
        path.write_bytes(damaged)
        message = refusal(SourceError, lambda: read_state_dict(path))
        assert message.startswith(f"{path} cannot be read as a checkpoint: ") or message.endswith(REFUSED)
        assert "weights_only" not in message
    for damaged in flipped:
        path.write_bytes(damaged)
        with contextlib.suppress(SourceError, CheckFailed):
            read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "is not a state_dict\n  expected: tensors by name\n  got: list"),
        ({}, "is not a state_dict\n  expected: tensors by name\n  got: dict"),
        (torch.ones(1), "is not a state_dict\n  expected: tensors by name\n  got: Tensor"),
        ({"epoch": 3, "state": {}}, "is not a plain state_dict: 'epoch' is not a tensor\n  got: int"),
        ({"model": {"state": 3}}, "is not a plain state_dict: 'model' is not a tensor\n  got: dict"),
    ],
    ids=["list", "empty", "tensor", "nested", "nested in vain"],
)
def test_what_is_no_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "net.pt")
    assert (
        refusal(SourceError, lambda: read_state_dict(tmp_path / "net.pt")) == f"{tmp_path}/net.pt {message}"
    )


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, zipped: bool) -> None:
    path, sprung = tmp_path / "net.pt", tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, path, _use_new_zipfile_serialization=zipped)
    message = refusal(SourceError, lambda: read_state_dict(path))
    assert message == f"{path} holds more than tensors (posix.mkdir), {REFUSED}"
    assert not sprung.exists()
    torch.load(path, weights_only=False)  # the trap does work where it is let
    assert sprung.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_plain_pickle_that_would_run_code_runs_nothing(tmp_path: Path) -> None:
    path, sprung = tmp_path / "net.pkl", tmp_path / "sprung"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Trap(sprung), protocol))
        assert refusal(SourceError, lambda: read_state_dict(path)).startswith(f"{path} ")
        assert not sprung.exists()


def test_a_pickled_module_is_refused_unless_its_author_is_trusted(
    tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "whole.pt"
    monkeypatch.syspath_prepend(str(workshop))
    network = __import__("sample_networks").Tiny().eval()
    torch.save({"epoch": 3, "model": network.half()}, path)
    monkeypatch.undo()
    message = refusal(SourceError, lambda: load_file(path, workshop, None))
    assert message == f"{path} holds more than tensors (sample_networks.Tiny), {REFUSED}"
    sys.modules.pop("sample_networks", None)
    loaded = load_file(path, workshop, None, trust=True)
    inputs = torch.randn(2, 3, 16, 16)
    assert loaded.notes == ("the weights were taken from 'model'",)
    assert torch.equal(loaded.module(inputs), network.float()(inputs))
    sys.modules.pop("sample_networks", None)
    sys.path.remove(str(workshop))
    message = refusal(SourceError, lambda: load_file(path, tmp_path, None, trust=True))
    assert message == (
        f"unpickling {path} needs the module sample_networks, which is not found from {tmp_path}\n"
        "  help: run the command in the folder from which the code that saved it imports its own"
    )


@pytest.mark.parametrize("arch", ["Tiny", ":Tiny", "sample_networks:", "sample_networks"])
def test_arch_of_another_form(workshop: Path, arch: str) -> None:
    assert refusal(UsageError, lambda: load_file(Path("tiny.pt"), workshop, arch)) == (
        f"--arch {arch!r} does not name a network\n"
        "  expected: package.module:factory, torchvision:NAME[@WEIGHTS] or timm:NAME"
    )


@pytest.mark.parametrize("module", ["nowhere", "nowhere.net", "json.nowhere"])
def test_arch_of_a_module_that_is_not_there(workshop: Path, module: str) -> None:
    assert refusal(UsageError, lambda: load_file(Path("tiny.pt"), workshop, f"{module}:build")) == (
        f"--arch {module}:build: there is no module {module} in {workshop}\n"
        "  help: run the command in the folder from which your code imports it"
    )


@pytest.mark.parametrize("path", ["sample_networks.py", "./sample_networks.py"])
def test_the_path_of_a_module_is_told_how_it_is_written(workshop: Path, path: str) -> None:
    message = refusal(UsageError, lambda: load_file(Path("tiny.pt"), workshop, f"{path}:Tiny"))
    assert message.endswith("\n  help: write it as Python imports it: --arch sample_networks:Tiny")


@pytest.mark.parametrize(
    ("arch", "meant"),
    [("sample_networks:Tinny", "sample_networks:Tiny"), ("sample_network:Tiny", "sample_networks")],
)
def test_a_misspelt_factory_is_proposed(workshop: Path, arch: str, meant: str) -> None:
    said = refusal(UsageError, lambda: load_file(Path("tiny.pt"), workshop, arch))
    assert said.endswith(f"\n  help: did you mean {meant}?")


@pytest.mark.parametrize("name", ["Nope", "torch.Nope", "__name__"])
def test_arch_of_an_attribute_that_is_not_there(workshop: Path, name: str) -> None:
    assert refusal(UsageError, lambda: load_file(Path("tiny.pt"), workshop, f"sample_networks:{name}")) == (
        f"--arch sample_networks:{name}: sample_networks has no {name}"
    )


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("fails", "building the network fails: ValueError: no GPU, no network"),
        ("Tiny.forward", "building the network fails: TypeError: "),
    ],
)
def test_a_factory_that_fails(workshop: Path, factory: str, message: str) -> None:
    arch = f"sample_networks:{factory}"
    text = refusal(SourceError, lambda: load_file(Path("tiny.pt"), workshop, arch))
    assert text.startswith(f"--arch {arch}: {message}")
    assert len(text.splitlines()) == 1


def test_a_factory_that_builds_no_network(workshop: Path) -> None:
    arch = "sample_networks:not_a_network"
    assert refusal(SourceError, lambda: load_file(Path("tiny.pt"), workshop, arch)) == (
        f"--arch {arch} does not build a network\n  expected: a torch.nn.Module\n  got: dict"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "importing it fails: ZeroDivisionError: division by zero"),
        ("def broken(:", "importing it fails: SyntaxError: invalid syntax (broken_network.py, line 1)"),
    ],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.delitem(sys.modules, "broken_network", raising=False)
    (tmp_path / "broken_network.py").write_text(code)
    (tmp_path / "tiny.pt").write_bytes((workshop / "tiny.pt").read_bytes())
    arch = "broken_network:build"
    assert (
        refusal(SourceError, lambda: load_file(Path("tiny.pt"), tmp_path, arch))
        == f"--arch {arch}: {message}"
    )


def test_a_module_that_needs_a_package(
    tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "broken_network", raising=False)
    (tmp_path / "broken_network.py").write_text("import package_that_nobody_has.net")
    (tmp_path / "tiny.pt").write_bytes((workshop / "tiny.pt").read_bytes())
    message = refusal(MissingDependency, lambda: load_file(Path("tiny.pt"), tmp_path, "broken_network:build"))
    assert message == (
        "--arch broken_network:build: importing it needs the package package_that_nobody_has, "
        f"which is not installed\n  help: {install_packages('package_that_nobody_has')}"
    )


def test_a_name_that_no_file_can_have(workshop: Path) -> None:
    assert refusal(SourceError, lambda: load_file(Path("x" * 5000), workshop)).startswith("there is no file ")
