"""Bundles of the Hugging Face Hub, through `huggingface_hub`, from a server that answers as the hub does."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace.models import hub_files
from pinnace.models.bundle import cache
from pinnace.models.bundle.anywhere import open_bundle_at
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.cache import identity_at
from pinnace.models.errors import BundleError, MissingDependency, UsageError
from support.command_line import run_here
from support.errors import error_of, refusal
from support.hub import Hub
from support.tiny_bundle import build_bundle

URL = "hf://owner/name"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two versions of a bundle."""
    folder = tmp_path_factory.mktemp("hub")
    first = build_bundle(folder / "first")
    second = shutil.copytree(first, folder / "second")
    document = json.loads((second / "manifest.json").read_bytes()) | {"created": "2026-02-02T00:00:00Z"}
    (second / "manifest.json").write_text(json.dumps(document))
    return first, second


@pytest.fixture
def hub(versions: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("PINNACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub_files._file_system.cache_clear()
    with Hub.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.commit(versions[0], "main", "v1")
        yield server
    hub_files._file_system.cache_clear()
    for folder in list(cache._held):
        cache.release(folder)


def test_a_branch_a_tag_a_commit_and_a_folder(hub: Hub, versions: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (Bundle.open(folder).version for folder in versions)
    assert open_bundle_at(URL).version == first
    assert any(path.startswith("/cdn/") and path.endswith("/model.onnx") for path in hub.asked)
    open_bundle_at(URL).check_files()
    before = identity_at(URL)
    sha = hub.commit(versions[1], "main")
    assert identity_at(URL) != before
    assert open_bundle_at(URL).version == second
    assert open_bundle_at(f"{URL}@v1").version == first
    assert open_bundle_at(f"{URL}@{sha}").version == second
    (tmp_path / "repository" / "models").mkdir(parents=True)
    shutil.copytree(versions[0], tmp_path / "repository" / "models" / "tiny")
    hub.commit(tmp_path / "repository", "main")
    assert open_bundle_at(f"{URL}/models/tiny").version == first
    assert [row["url"] for row in run_here("cache", "--json", folder=tmp_path).json["bundles"]][-1] == URL


def test_all_files_come_from_the_commit_of_the_manifest(
    hub: Hub, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    sha = hub.names["main"]
    # Somebody pushes another version while this one is read.
    hub.before = lambda path: path.endswith("/manifest.json") and hub.commit(versions[1], "main")
    assert run_here("pull", URL, "-o", tmp_path / "out", folder=tmp_path).status == 0
    served = [path for path in hub.asked if path.startswith("/cdn/")]
    assert len(served) > 3
    assert all(path.startswith(f"/cdn/{sha}/") for path in served)


def test_what_is_not_there_and_what_is_private(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(BundleError, lambda: open_bundle_at(f"{URL}@v9")) == (
        f"{URL}@v9 is not a bundle: revision not found"
    )
    message = refusal(BundleError, lambda: open_bundle_at("hf://owner/other"))
    assert message == "hf://owner/other is not a bundle: repository not found"
    assert "it has no manifest.json" in refusal(BundleError, lambda: open_bundle_at(f"{URL}/models"))
    error = error_of(UsageError, lambda: open_bundle_at("hf://name"))
    assert (error.message, error.expected) == (
        "hf://name is no name of a repository",
        "hf://OWNER/NAME[@REVISION]",
    )
    hub.token = "hf_SECRET"
    assert "repository not found" in refusal(BundleError, lambda: open_bundle_at(URL))
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    hub_files._file_system.cache_clear()
    outcome = run_here("inspect", URL, folder=tmp_path)
    assert outcome.status == 0, outcome.err
    hub.status = 403
    outcome = run_here("inspect", URL, folder=tmp_path)
    assert outcome.status == 2
    assert f"{URL} cannot be read: the hub answers 403" in outcome.err
    assert "hf auth login" in outcome.err
    assert "SECRET" not in outcome.err


def test_where_the_hub_is_silent_the_cache_answers(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version = open_bundle_at(URL).version
    hub.status = 503
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert open_bundle_at(URL).version == version
    assert caplog.messages[-1].startswith(f"{URL} cannot be reached (")


def test_nothing_is_pushed_onto_it_from_here(hub: Hub, versions: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = run_here("push", versions[0], URL, folder=tmp_path)
    assert outcome.status == 2
    assert f"hf upload OWNER/NAME {versions[0]} ." in outcome.err


def test_without_the_package_there_is_a_line_that_installs_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    error = error_of(MissingDependency, lambda: open_bundle_at(URL))
    assert error.message == "hf:// needs the package huggingface_hub, which is not installed"
    assert "remote" in (error.hint or "")
