"""Hub repositories in local folders: nothing runs unasked, and what runs finds its own modules and data."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pinnace.models.errors import MissingDependency, PinnaceError, SourceError, UsageError
from pinnace.models.install import install_packages
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.source import Source
from support.errors import refusal

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, num_classes=5):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        from utils.later import double
        return double(self.head(self.body(x).mean((2, 3))))
"""
HUBCONF = """
print("noise")
dependencies = ["torch", "numpy"]
import clients, export, serving
from models.net import Net
from pathlib import Path

def tiny(**arguments):
    "A network."
    assert Path("data/words.txt").samefile(Path(__file__).parent / "data" / "words.txt")
    return Net(**arguments)

def from_file(path):
    import torch
    net = Net().half()
    net.load_state_dict(torch.load(path))
    return net

def fails():
    raise ValueError("no good\\nsecond line")

def number():
    return 3

def needs():
    import package_that_nobody_has.net

def lacks():
    from models.nowhere import Net

_private = tiny
"""


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    """What a child interpreter would take with it when it ends."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - set(modules):
        if not name.startswith(("torch", "numpy", "sympy", "networkx", "pinnace")):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with packages that have the names of ours, and a module that has torch's dependency's."""
    files = {
        "hubconf.py": HUBCONF,
        "models/__init__.py": "",
        "models/net.py": NET,
        "utils/__init__.py": "",
        "utils/later.py": "def double(x): return 2 * x",
        "export.py": "",
        "numpy.py": "raise RuntimeError('not the numpy of the index')",
        "torch.py": "raise RuntimeError('not the torch of the index')",
        "serving.py": "",
        "clients/__init__.py": "",
        "onnx.py": "raise RuntimeError('not the onnx of the index')",
        "data/words.txt": "cat",
    }
    for name, text in files.items():
        path = tmp_path / "nets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "nets"


def load_hub(entry: str, folder: Path, name: str = "./nets", **options: object) -> LoadedModel:
    source = Source("hub", name, entry=entry)
    loaded = load(LoadRequest(source, folder=str(folder), **{"trust": True, **options}))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


def test_nothing_of_a_repository_runs_unless_it_is_trusted(tmp_path: Path, repository: Path) -> None:
    (repository / "hubconf.py").write_text(f"import os; os.mkdir({str(tmp_path / 'sprung')!r})")
    assert refusal(UsageError, lambda: load_hub("tiny", tmp_path, trust=False)) == (
        "hub:./nets#tiny is a repository of Python code, and nothing of it was run\n"
        "  help: if you trust its author, add --trust: the code then runs with all your rights"
    )
    assert not (tmp_path / "sprung").exists()
    refusal(UsageError, lambda: load_hub("tiny", tmp_path))
    assert (tmp_path / "sprung").exists()


def test_a_repository_finds_its_own_modules_and_data(tmp_path: Path, repository: Path) -> None:
    before = Path.cwd()
    module = load_hub("tiny", tmp_path, arguments={"width": 3}, num_classes=7).module
    assert module(torch.zeros(2, 3, 8, 8)).shape == (2, 7)  # which imports utils.later
    assert module.body.out_channels == 3
    assert Path.cwd() == before
    assert (
        sys.path.index(str(repository)) == len(sys.path) - 1
    )  # behind everything that we import from now on


def test_a_repository_with_a_package_of_our_own_name(tmp_path: Path, repository: Path) -> None:
    (repository / "models").rename(repository / "pinnace")
    hubconf = repository / "hubconf.py"
    hubconf.write_text(hubconf.read_text().replace("models.net", "pinnace.net"))
    ours = sys.modules["pinnace.models.loaders"]
    assert load_hub("tiny", tmp_path).module.head.out_features == 5
    assert sys.modules["pinnace.models.loaders"] is ours
    assert "pinnace.net" not in sys.modules


def test_a_file_of_the_caller_is_an_argument_and_half_precision_becomes_float32(
    tmp_path: Path, repository: Path
) -> None:
    state = load_hub("tiny", tmp_path).module.state_dict()
    torch.save(state, tmp_path / "best.pt")
    module = load_hub("from_file", tmp_path, arguments={"path": "best.pt"}).module
    torch.testing.assert_close(module.state_dict(), state, rtol=1e-3, atol=1e-3)
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}


def test_an_unknown_entry_point_lists_those_that_exist(tmp_path: Path, repository: Path) -> None:
    assert refusal(UsageError, lambda: load_hub("large", tmp_path)) == (
        "hub:./nets#large has no entry point large\n"
        "  expected: one of Net, Path, tiny, from_file, fails, number, needs, lacks\n  got: large"
    )
    assert refusal(UsageError, lambda: load_hub("_private", tmp_path)).startswith(
        "hub:./nets#_private has no entry point _private\n"
    )


@pytest.mark.parametrize(
    "declared",
    ["dependencies: list = ['nobodys']", "dependencies = ('nobodys',)", "dependencies = 'nobodys'"],
)
def test_dependencies_in_other_forms(tmp_path: Path, repository: Path, declared: str) -> None:
    (repository / "hubconf.py").write_text(f"{declared}\nimport os; os.mkdir({str(tmp_path / 'sprung')!r})")
    assert refusal(MissingDependency, lambda: load_hub("tiny", tmp_path)).startswith(
        "hub:./nets#tiny needs the package nobodys, which is not installed"
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("RuntimeError('bad \\udcff')", "RuntimeError: bad \\udcff"),
        ("RuntimeError('y' * 9999)", "RuntimeError: " + "y" * 500 + " ..."),
        ("type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "Odd"),
    ],
)
def test_errors_that_are_hard_to_print(tmp_path: Path, repository: Path, raised: str, said: str) -> None:
    (repository / "hubconf.py").write_text(f"raise {raised}")
    message = refusal(SourceError, lambda: load_hub("tiny", tmp_path))
    assert message == f"hub:./nets#tiny: importing hubconf.py fails: {said}"


def test_dependencies_that_are_missing_are_all_named_before_anything_runs(
    tmp_path: Path, repository: Path
) -> None:
    (repository / "hubconf.py").write_text("dependencies = ['torch', 'nobody_has', 'cv2', 'a.b']\n1 / 0\n")
    assert refusal(MissingDependency, lambda: load_hub("tiny", tmp_path)) == (
        "hub:./nets#tiny needs the packages nobody_has, cv2 and a.b, which are not installed\n"
        f"  help: {install_packages('nobody_has', 'opencv-python', 'a.b')}"
    )
    (repository / "hubconf.py").write_text("dependencies = ['nobody_' + 'has']\n")
    assert refusal(MissingDependency, lambda: load_hub("tiny", tmp_path)) == (
        "hub:./nets#tiny needs the package nobody_has, which is not installed\n"
        f"  help: {install_packages('nobody_has')}"
    )


@pytest.mark.parametrize(
    ("entry", "kind", "message"),
    [
        ("fails", SourceError, "the entry point fails fails: ValueError: no good"),
        (
            "number",
            SourceError,
            "the entry point number does not return a network\n  expected: a torch.nn.Module\n  got: int",
        ),
        (
            "needs",
            MissingDependency,
            "the entry point needs needs the package package_that_nobody_has, which is not installed\n"
            f"  help: {install_packages('package_that_nobody_has')}",
        ),
        (
            "lacks",
            SourceError,
            "the entry point lacks fails: ModuleNotFoundError: No module named 'models.nowhere'",
        ),
    ],
)
def test_an_entry_point_that_fails(
    tmp_path: Path, repository: Path, entry: str, kind: type[PinnaceError], message: str
) -> None:
    assert refusal(kind, lambda: load_hub(entry, tmp_path)) == f"hub:./nets#{entry}: {message}"


@pytest.mark.parametrize(
    ("hubconf", "message"),
    [
        ("def tiny(:", "importing hubconf.py fails: SyntaxError: invalid syntax (hubconf.py, line 1)"),
        ("1 / 0", "importing hubconf.py fails: ZeroDivisionError: division by zero"),
        ("\0", "importing hubconf.py fails: SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_a_hubconf_that_fails(tmp_path: Path, repository: Path, hubconf: str, message: str) -> None:
    (repository / "hubconf.py").write_text(hubconf)
    assert refusal(SourceError, lambda: load_hub("tiny", tmp_path)) == f"hub:./nets#tiny: {message}"


def test_what_is_no_repository(tmp_path: Path, repository: Path) -> None:
    (repository / "hubconf.py").unlink()
    assert refusal(SourceError, lambda: load_hub("tiny", tmp_path)) == (
        f"hub:./nets#tiny is not a hub repository: {repository} has no hubconf.py"
    )
    assert refusal(SourceError, lambda: load_hub("tiny", tmp_path, "./gone")) == (
        f"there is no folder {tmp_path}/gone"
    )
    assert refusal(UsageError, lambda: load_hub("tiny", tmp_path, arch="net:build")) == (
        "--arch does not apply to hub:./nets#tiny"
    )


@pytest.mark.parametrize("ref", [None, "v1.0"])
def test_a_remote_repository_without_a_network_is_one_sentence_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str | None
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of the first request
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = Source("hub", "owner/repo", ref=ref, entry="tiny")
    message = refusal(SourceError, lambda: load(LoadRequest(source, trust=True)))
    first, hint = message.splitlines()
    assert first.startswith(f"{source} cannot be fetched from GitHub: ")
    assert hint == "  help: clone it where there is a network, and use hub:./FOLDER#tiny"


def test_a_remote_repository_that_was_fetched_before_needs_no_network(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub").mkdir(parents=True)
    repository.rename(tmp_path / "torch" / "hub" / "owner_repo_v1.0")
    source = Source("hub", "owner/repo", ref="v1.0", entry="tiny")
    loaded = load(LoadRequest(source, trust=True, folder=os.fspath(tmp_path)))
    assert isinstance(loaded, LoadedModel)
    assert loaded.module.head.out_features == 5
