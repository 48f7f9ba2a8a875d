"""The cache of bundles from elsewhere: what is fetched, what is not, what is refused, and what may go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace.models.bundle import cache, cache_contents, download
from pinnace.models.bundle.anywhere import open_bundle_at
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.download import UnreachableError
from pinnace.models.errors import BundleError, CheckFailed, UsageError
from support import command_line
from support.command_line import Outcome
from support.errors import refusal
from support.s3 import s3_server
from support.signing_keys import Keys
from support.tiny_bundle import build_bundle
from support.web_site import Page, Site


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("cache") / "tiny.bundle")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    monkeypatch.setenv("PINNACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSE", 0)
    yield tmp_path / "cache"
    let_go()


def run_here(*words: object) -> Outcome:
    return command_line.run_here(*words, folder=Path.cwd())


def let_go() -> None:
    for folder in list(cache._held):
        cache.release(folder)


@pytest.fixture
def site(tiny: Path) -> Iterator[Site]:
    with Site.of(tiny) as server:
        yield server


def changed(tiny: Path, folder: Path, **fields: object) -> Path:
    """A copy of the bundle with another manifest."""
    shutil.copytree(tiny, folder)
    document = json.loads((folder / "manifest.json").read_bytes()) | fields
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def names(site: Site) -> list[str]:
    asked = [name for name, _ in site.asked]
    site.asked.clear()
    return asked


def test_a_url_is_pulled_once_and_then_only_looked_at(site: Site, tiny: Path, root: Path) -> None:
    first = open_bundle_at(site.url)
    assert first.version == Bundle.open(tiny).version
    assert first.folder.parent == root / "bundles"
    assert len(first.labels) == 5
    assert "model.onnx" in names(site)
    assert open_bundle_at(f"{site.url}/").folder == first.folder
    assert names(site) == ["manifest.json", "signature.json"]
    assert list((root / "partial").iterdir()) == []


def test_what_another_version_has_is_not_fetched_again(site: Site, tiny: Path, tmp_path: Path) -> None:
    before = open_bundle_at(site.url)
    names(site)
    site.folder = changed(tiny, tmp_path / "second", created="2026-01-01T00:00:00+00:00")
    after = open_bundle_at(site.url)
    assert names(site) == ["manifest.json", "signature.json"]
    assert after.version != before.version
    after.check_files()
    before.check_files()
    site.folder = tiny
    assert open_bundle_at(site.url).folder == before.folder


def test_without_a_network_the_cache_answers_and_says_so(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Site.of(tiny) as site:
        url = site.url
        version = open_bundle_at(url).version
    assert open_bundle_at(url).version == version
    (line,) = caplog.messages
    assert line.startswith(f"{url} cannot be reached (")
    assert f"the cache has version {version}, of 20" in line
    outcome = run_here("inspect", url)
    assert outcome.status == 0
    assert outcome.err.count("cannot be reached") == 1
    message = refusal(UnreachableError, lambda: open_bundle_at(f"{url}/other"))
    assert message.startswith(f"{url}/other cannot be reached (")


def test_what_is_no_longer_there_does_not_come_from_the_cache(site: Site, tmp_path: Path) -> None:
    open_bundle_at(site.url)
    site.folder = tmp_path
    assert refusal(BundleError, lambda: open_bundle_at(site.url)) == (
        f"{site.url} is not a bundle: it has no manifest.json"
    )


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_file_of_the_cache_that_was_changed_is_fetched_again(site: Site, tiny: Path, file: str) -> None:
    folder = open_bundle_at(site.url).folder
    (folder / file).write_bytes((folder / file).read_bytes()[:-1])
    names(site)
    assert open_bundle_at(site.url).folder == folder
    Bundle.open(folder).check_files()
    assert ("model.onnx" in names(site)) == (file == "model.onnx")


def test_with_a_trusted_key_what_is_not_signed_is_refused_until_it_is(
    site: Site, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(tmp_path)
    first = open_bundle_at(site.url).folder
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(keys.public))
    message = refusal(CheckFailed, lambda: open_bundle_at(site.url))
    assert message.startswith(f"{site.url} is not signed")
    signed = changed(tiny, tmp_path / "signed")
    assert run_here("sign", signed, "--key", keys.own).status == 0
    site.folder = signed
    names(site)
    second = open_bundle_at(site.url).folder
    assert second != first
    assert "model.onnx" not in names(site)
    outcome = run_here("tune", site.url)
    assert outcome.status == 2
    assert "signed as it is elsewhere" in outcome.err


@pytest.mark.parametrize(
    "name", ["manifest.json", "signature.json", "a/../b", "x.part", "a\\b", "a\nb", "./c"]
)
def test_names_that_hide_another_file(site: Site, tiny: Path, tmp_path: Path, name: str) -> None:
    files = json.loads((tiny / "manifest.json").read_bytes())["files"] | {name: "0" * 64}
    site.folder = changed(tiny, tmp_path / "evil", files=files)
    assert refusal(BundleError, lambda: open_bundle_at(site.url)).startswith(f"{site.url} names a file ")
    assert names(site) == ["manifest.json"]


def test_a_command_that_changes_a_bundle_takes_no_url(site: Site, tmp_path: Path) -> None:
    url = site.url.replace("//", "//me:KEY@")
    for words in (("build", url), ("sign", url, "--key", tmp_path / "key")):
        outcome = run_here(*words)
        assert outcome.status == 2
        assert f"pinnace pull {site.url} -o DIR" in outcome.err
        assert "KEY@" not in outcome.err
    assert site.asked == []


def test_bench_tells_a_bundle_from_a_server(site: Site, tmp_path: Path) -> None:
    few = ("--duration", "0.1", "--min-queries", "2", "--rounds", "1")
    outcome = run_here("bench", site.url, *few)
    assert outcome.status == 0, outcome.err
    assert "onnx-fp32" in outcome.out
    site.folder = tmp_path
    outcome = run_here("bench", site.url, *few)
    assert outcome.status == 2
    assert "manifest.json" not in outcome.err


def test_keys_stay_out_of_what_is_kept_and_shown(site: Site, root: Path) -> None:
    url = site.url.replace("//", "//me:SECRET@")
    assert run_here("inspect", url).status == 0
    for path in root.rglob("*"):
        assert "SECRET" not in str(path)
        assert not path.is_file() or b"SECRET" not in path.read_bytes()
    site.act = lambda page, name: page.send_error(403) is None
    outcome = run_here("inspect", url)
    assert outcome.status == 2
    assert "403" in outcome.err
    assert "SECRET" not in outcome.err


def test_the_cache_is_shown_and_pruned(site: Site, tiny: Path, tmp_path: Path, root: Path) -> None:
    first = open_bundle_at(site.url)
    site.folder = changed(tiny, tmp_path / "second", created="2026-01-01T00:00:00+00:00")
    second = open_bundle_at(site.url)
    outcome = run_here("cache", "--json")
    assert outcome.json["folder"] == str(root)
    rows = [(row["version"], row["url"], row["current"], row["in_use"]) for row in outcome.json["bundles"]]
    assert rows == [(second.version, site.url, True, True), (first.version, site.url, False, True)]
    assert outcome.json["bundles"][0]["bytes"] == sum(
        path.stat().st_size for path in second.folder.rglob("*") if path.is_file()
    )
    assert "tiny" in run_here("cache").out

    assert run_here("cache", "--prune", "--json").json["removed"] == []  # both are in use
    cache.release(first.folder)
    outcome = run_here("cache", "--prune", "--json")
    assert [row["version"] for row in outcome.json["removed"]] == [first.version]
    assert not first.folder.exists()
    second.check_files()

    cache.release(second.folder)
    assert (
        run_here("cache", "--prune", "--older-than", "1h", "--max-size", "1G", "--json").json["removed"] == []
    )
    old = time.time() - 7200
    for record in (root / "records").iterdir():
        os.utime(record, (old, old))
    outcome = run_here("cache", "--prune", "--older-than", "1h")
    assert second.version in outcome.out
    assert list((root / "records").iterdir()) == list((root / "bundles").iterdir()) == []


def test_a_size_removes_what_was_asked_for_longest_ago(site: Site, tiny: Path, tmp_path: Path) -> None:
    open_bundle_at(site.url)
    site.folder = changed(tiny, tmp_path / "second", name="other")
    second = open_bundle_at(f"{site.url}/")
    let_go()
    most = cache_contents.disk_bytes(cache.cache_folder()) - 1
    assert len(cache_contents.prune(max_bytes=most).bundles) == 1
    assert [row.version for row in cache_contents.contents()] == [second.version]


def test_wrong_options_of_the_cache() -> None:
    assert "add --prune" in run_here("cache", "--max-size", "1G").err
    assert "such as 500M or 10G" in run_here("cache", "--prune", "--max-size", "much").err
    assert "such as 90s" in run_here("cache", "--prune", "--older-than", "long").err
    assert run_here("cache", "--prune").status == 0  # there is none


def pulling(url: str) -> subprocess.Popen[str]:
    code = (
        "import sys; from pinnace.models.bundle.anywhere import open_bundle_at\n"
        "print(open_bundle_at(sys.argv[1]).version)"
    )
    return subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)


def test_two_processes_pull_the_same_at_once(site: Site, tiny: Path) -> None:
    both = [pulling(site.url), pulling(site.url)]
    said = [process.communicate(timeout=60)[0].strip() for process in both]
    assert said == [Bundle.open(tiny).version] * 2
    assert names(site).count("model.onnx") == 1


def test_a_pull_that_was_killed_goes_on(site: Site, tiny: Path, root: Path) -> None:
    arrived, gate = threading.Event(), threading.Event()
    size = (tiny / "model.onnx").stat().st_size

    def slow(page: Page, name: str) -> bool:
        if name != "model.onnx" or page.headers.get("Range"):
            return False
        page.send((tiny / name).read_bytes()[:64], length=size)
        page.wfile.flush()
        arrived.set()
        gate.wait(30)
        return True

    site.act = slow
    process = pulling(site.url)
    assert arrived.wait(30)
    part = root / "partial"
    while not any(path.stat().st_size == 64 for path in part.rglob("model.onnx.part")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    gate.set()
    assert not (root / "bundles").exists()
    open_bundle_at(site.url).check_files()
    assert ("model.onnx", "bytes=64-") in site.asked


def test_a_disk_that_is_full(site: Site, root: Path) -> None:
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700));"
        "from pinnace.cli.main import run; sys.exit(run(['inspect', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, site.url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "cannot be written: File too large" in done.stderr
    assert not (root / "bundles").exists()
    open_bundle_at(site.url).check_files()


def test_a_store_by_s3(tiny: Path) -> None:
    with s3_server() as store:
        assert run_here("push", tiny, "s3://bucket/models/tiny").status == 0
        outcome = run_here("inspect", "s3://bucket/models/tiny", "--json")
        assert outcome.status == 0, outcome.err
        assert outcome.json["name"] == "tiny"
        store.delete_file("bucket/models/tiny/labels.txt")
        assert run_here("inspect", "s3://bucket/models/tiny").status == 0  # nothing is missing here
    assert refusal(UsageError, lambda: open_bundle_at("nonsense://x/y")).startswith(
        "nonsense://x cannot be opened"
    )
