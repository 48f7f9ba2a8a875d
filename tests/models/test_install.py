"""The line that installs an extra is right for the way in which Pinnace was installed."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from pinnace.models import install
from pinnace.models.install import install_line, install_packages

ROOT = Path(__file__).parents[2]
METADATA = """Metadata-Version: 2.4
Name: pinnace
Version: 0.1.0
Requires-Dist: numpy>=1.26
Provides-Extra: cpu
Requires-Dist: onnxruntime>=1.20; extra == "cpu"
Requires-Dist: openvino>=2025.0; (sys_platform == "linux" and platform_machine == "x86_64") and extra == "cpu"
Provides-Extra: sign
Requires-Dist: cryptography>=41; extra == "sign"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pinnace as an installer leaves it: with this `direct_url.json`, or with none; pip is on the PATH."""
    info = tmp_path / "pinnace-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)

    def leave(origin: dict[str, Any] | None, installer: str = "pip") -> None:
        (info / "INSTALLER").write_text(f"{installer}\n")
        if origin is not None:
            (info / "direct_url.json").write_text(json.dumps(origin))

    monkeypatch.setattr(install, "own_distribution", lambda: Distribution.at(info))
    monkeypatch.setattr(install.shutil, "which", lambda _: str(Path(sys.executable).with_name("pip")))
    return leave


def test_a_checkout(installed: Any, tmp_path: Path) -> None:
    installed({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    assert install_line("cpu", "bench") == f"pip install -e '{tmp_path}[cpu,bench]'"


def test_a_folder_that_was_copied(installed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    installed({"url": folder.as_uri(), "dir_info": {}})
    assert install_line("cpu") == f"pip install '{folder}[cpu]'"


def test_a_wheel(installed: Any, tmp_path: Path) -> None:
    wheel = tmp_path / "pinnace-0.1.0-py3-none-any.whl"
    wheel.touch()
    installed({"url": wheel.as_uri(), "archive_info": {}})
    assert install_line("cpu") == f"pip install '{wheel}[cpu]'"


def test_a_wheel_that_is_gone_as_in_the_image_of_a_bento(installed: Any) -> None:
    installed({"url": "file:///home/bentoml/bento/wheels/pinnace-0.1.0-py3-none-any.whl", "archive_info": {}})
    assert install_line("sign") == "pip install 'cryptography>=41'"
    assert shlex.split(install_line("cpu")) == [
        *("pip", "install", "onnxruntime>=1.20"),
        'openvino>=2025.0; (sys_platform == "linux" and platform_machine == "x86_64")',
    ]


def test_a_repository_and_a_file_on_the_net(installed: Any) -> None:
    installed({"url": "https://example.org/p.git", "vcs_info": {"vcs": "git", "commit_id": "1"}})
    assert install_line("cpu") == "pip install 'pinnace[cpu] @ git+https://example.org/p.git'"
    installed({"url": "https://example.org/pinnace-0.1.0-py3-none-any.whl", "archive_info": {}})
    assert (
        install_line("cpu")
        == "pip install 'pinnace[cpu] @ https://example.org/pinnace-0.1.0-py3-none-any.whl'"
    )


def test_an_index_of_the_users(installed: Any) -> None:
    installed(None)
    assert install_line("cpu") == "pip install 'pinnace[cpu]'"


def test_uv_installs_into_this_interpreter(installed: Any) -> None:
    installed(None, "uv")
    assert install_line("cpu") == f"uv pip install --python {sys.executable} 'pinnace[cpu]'"
    assert install_packages("a", "b>=1") == f"uv pip install --python {sys.executable} a 'b>=1'"


def test_a_pip_of_another_environment_is_not_taken(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(None)
    monkeypatch.setattr(install.shutil, "which", lambda _: "/elsewhere/bin/pip")
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: object())
    assert install_line("cpu") == f"{sys.executable} -m pip install 'pinnace[cpu]'"
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: None)
    assert install_line("cpu") == f"pip --python {sys.executable} install 'pinnace[cpu]'"


def test_not_installed_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Distribution:
        raise PackageNotFoundError("pinnace")

    monkeypatch.setattr(install, "own_distribution", missing)
    assert install_line("cpu") == "pip install 'pinnace[cpu]'"
    assert install_packages("a") == "pip install a"


def test_no_other_message_names_an_index() -> None:
    wings = ("models", "export", "latency", "serving", "clients", "cli")
    code = {path: path.read_text(encoding="utf-8") for wing in wings for path in (ROOT / wing).rglob("*.py")}
    assert [
        path.name
        for path, text in code.items()
        if re.search(r"pip install '?pinnace", text) and path.name != "install.py"
    ] == []
