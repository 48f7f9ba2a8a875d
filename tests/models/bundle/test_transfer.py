"""Bundles from an S3 server, and from a plain HTTP server that cuts, stalls, lies and sends elsewhere."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinnace.models import file_stores, web_files
from pinnace.models.bundle import download
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.download import UnreachableError
from pinnace.models.bundle.transfer import pull, push
from pinnace.models.errors import BundleError, CheckFailed, ServerError, UsageError
from support.command_line import run_here
from support.errors import refusal
from support.s3 import s3_server
from support.tiny_bundle import build_bundle
from support.web_site import Page, Site


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("transfer") / "tiny.bundle")


@pytest.fixture
def site(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "_PAUSE", 0)
    with Site.of(tiny) as server:
        yield server


def same(folder: Path, tiny: Path) -> None:
    names = {path.relative_to(tiny).as_posix() for path in tiny.rglob("*") if path.is_file()}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == names
    for name in names:
        assert (folder / name).read_bytes() == (tiny / name).read_bytes()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_from_a_plain_server_and_once_more_without_fetching(site: Site, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert pull(site.url, out).version == Bundle.open(tiny).version
    same(out, tiny)
    assert left(tmp_path) == ["out"]
    site.asked.clear()
    pull(f"{site.url}/", out)
    assert site.asked == [("manifest.json", None), ("signature.json", None)]


def test_a_pull_that_was_cut_goes_on_from_the_byte(site: Site, tiny: Path, tmp_path: Path) -> None:
    size = (tiny / "model.onnx").stat().st_size

    def cut(page: Page, name: str) -> bool:
        if name != "model.onnx" or page.headers.get("Range"):
            return False
        page.send((tiny / name).read_bytes()[:100], length=size)
        return True

    site.act = cut
    pull(site.url, tmp_path / "out")
    same(tmp_path / "out", tiny)
    assert [given for name, given in site.asked if name == "model.onnx"] == [None, "bytes=100-"]


def test_what_is_cut_again_and_again_is_kept_for_the_next_command(
    site: Site, tiny: Path, tmp_path: Path
) -> None:
    size = (tiny / "model.onnx").stat().st_size

    def cut(page: Page, name: str) -> bool:
        if name != "model.onnx":
            return False
        start = int((page.headers.get("Range") or "bytes=0-")[6:-1])
        data = (tiny / name).read_bytes()[start : start + 10]
        page.send(data, 206 if start else 200, start, size, size - start)
        return True

    site.act = cut
    message = refusal(UnreachableError, lambda: pull(site.url, tmp_path / "out"))
    assert f"model.onnx at {site.url} was cut 4 times" in message
    assert "run the same command again" in message
    assert not (tmp_path / "out").exists()
    site.act, site.asked = (lambda page, name: False), []
    pull(site.url, tmp_path / "out")
    same(tmp_path / "out", tiny)
    assert ("model.onnx", "bytes=40-") in site.asked
    assert left(tmp_path) == ["out"]


def test_a_server_that_falls_silent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_files, "_TIMEOUT", 2)
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    gate = threading.Event()

    def stall(page: Page, name: str) -> bool:
        return name == "labels.txt" and not gate.wait(5)

    site.act = stall
    assert "labels.txt" in refusal(UnreachableError, lambda: pull(site.url, tmp_path / "out"))
    gate.set()


def test_a_changed_file_and_one_that_began_as_another(site: Site, tiny: Path, tmp_path: Path) -> None:
    site.act = lambda page, name: name == "labels.txt" and page.send(b"other\n") is None
    message = refusal(CheckFailed, lambda: pull(site.url, tmp_path / "out"))
    assert message.startswith(f"labels.txt at {site.url} is not what the manifest says")
    (partial,) = tmp_path.glob(".out.pull-*")
    (partial / "model.onnx").unlink()
    (partial / "model.onnx.part").write_bytes(b"other")
    site.act = lambda page, name: False
    pull(site.url, tmp_path / "out")
    same(tmp_path / "out", tiny)


def test_a_body_without_end_and_a_size_that_lies(site: Site, tmp_path: Path) -> None:
    def endless(page: Page, name: str) -> bool:
        if name != "model.onnx":
            return False
        page.send_response(200)
        page.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                page.wfile.write(bytes(1 << 16))
        return True

    site.act = endless
    message = refusal(CheckFailed, lambda: pull(site.url, tmp_path / "out"))
    assert f"model.onnx at {site.url} has more bytes than the manifest says" in message
    assert max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 20


def test_a_body_that_drips(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SECONDS_TO_JUDGE", 0.2)

    def drip(page: Page, name: str) -> bool:
        if name != "model.onnx":
            return False
        page.send_response(200)
        page.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                page.wfile.write(b"x")
                time.sleep(0.05)
        return True

    site.act = drip
    message = refusal(UnreachableError, lambda: pull(site.url, tmp_path / "out"))
    assert "bytes a second" in message


@pytest.mark.parametrize("there", ["http://127.0.0.1:1/b/x", "https://example.org/", "file:///etc/passwd"])
def test_another_host_is_not_followed(site: Site, tmp_path: Path, there: str) -> None:
    def redirect(page: Page, name: str) -> bool:
        page.send_response(302)
        page.send_header("Location", there)
        page.send_header("Content-Length", "0")
        page.end_headers()
        return True

    site.act = redirect
    assert "is redirected to another host" in refusal(ServerError, lambda: pull(site.url, tmp_path / "out"))


def test_the_same_host_is_followed_and_not_for_ever(site: Site, tiny: Path, tmp_path: Path) -> None:
    def redirect(page: Page, name: str) -> bool:
        if name.startswith("moved/"):
            return False
        page.send_response(301)
        page.send_header("Location", f"/b/moved/{name}" if loops == [] else f"/b/{name}")
        page.send_header("Content-Length", "0")
        page.end_headers()
        return True

    loops: list[int] = []
    site.act, site.folder = redirect, tmp_path / "site"
    site.folder.mkdir()
    (site.folder / "moved").symlink_to(tiny)
    pull(site.url, tmp_path / "out")
    same(tmp_path / "out", tiny)
    loops.append(1)
    assert "is redirected more than 5 times" in refusal(ServerError, lambda: pull(site.url, tmp_path / "b"))


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../evil"])
def test_names_that_leave_the_folder(site: Site, tiny: Path, tmp_path: Path, name: str) -> None:
    document = json.loads((tiny / "manifest.json").read_bytes())
    document["files"][name] = "0" * 64
    data = json.dumps(document).encode()
    site.act = lambda page, asked: asked == "manifest.json" and page.send(data) is None
    message = refusal(BundleError, lambda: pull(site.url, tmp_path / "out"))
    assert message == f"{site.url} names a file outside its folder: {name}"
    assert [asked for asked, _ in site.asked] == ["manifest.json"]


def test_only_what_is_listed_is_asked_for(site: Site, tiny: Path, tmp_path: Path) -> None:
    pull(site.url, tmp_path / "out")
    manifest = Bundle.open(tiny).manifest
    listed = {"manifest.json", "signature.json", *manifest.files, *(v.file for v in manifest.variants)}
    assert {name for name, _ in site.asked} == listed


def test_no_bundle_a_place_that_is_taken_and_a_url_that_is_none(site: Site, tmp_path: Path) -> None:
    none = f"{site.url}/none"
    assert refusal(BundleError, lambda: pull(none, tmp_path / "a")) == (
        f"{none} is not a bundle: it has no manifest.json"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    site.asked.clear()
    assert "was not replaced" in refusal(UsageError, lambda: pull(site.url, tmp_path / "mine"))
    assert site.asked == []
    assert "is not a URL" in refusal(UsageError, lambda: pull("somewhere/b", tmp_path / "a"))
    signed = refusal(UsageError, lambda: pull(f"{site.url}?sig=SECRET", tmp_path / "a"))
    assert "has a query" in signed
    assert "SECRET" not in signed


def test_a_full_disk_is_said_and_what_came_is_kept(
    site: Site, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, piece: bytes, path: Path) -> None:
        file.write(piece[:50])
        if path.name != "model.onnx.part":
            file.write(piece[50:])
            return
        raise download.not_written(path, OSError(28, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", full)
        message = refusal(UsageError, lambda: pull(site.url, tmp_path / "out"))
    assert "cannot be written: No space left on device" in message
    assert not (tmp_path / "out").exists()
    pull(site.url, tmp_path / "out")
    assert ("model.onnx", "bytes=50-") in site.asked
    same(tmp_path / "out", tiny)


def test_an_unsigned_bundle_is_refused_where_a_key_is_trusted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = Ed25519PrivateKey.generate().public_key()
    key = tmp_path / "key.pem"
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(key))
    message = refusal(CheckFailed, lambda: pull(site.url, tmp_path / "out"))
    assert site.url in message
    assert not (tmp_path / "out").exists()


def test_two_at_once(site: Site, tiny: Path, tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(pull(site.url, tmp_path / "out").version))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [Bundle.open(tiny).version] * 3
    assert [name for name, _ in site.asked].count("model.onnx") == 1
    same(tmp_path / "out", tiny)
    assert left(tmp_path) == ["out"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 server on loopback with an empty bucket."""
    with s3_server():
        yield "s3://bucket"


def test_into_a_store_and_back_on_the_command_line(bucket: str, tiny: Path, tmp_path: Path) -> None:
    outcome = run_here("push", tiny, f"{bucket}/models/tiny", "--json", folder=tmp_path)
    assert outcome.status == 0, outcome.err
    assert outcome.json["bundle"] == f"{bucket}/models/tiny"
    outcome = run_here("pull", f"{bucket}/models/tiny", "--json", folder=tmp_path)
    assert outcome.status == 0, outcome.err
    same(tmp_path / "tiny", tiny)
    missing = run_here("pull", f"{bucket}/models/none", "-o", "b", folder=tmp_path)
    assert missing.status == 2
    assert f"{bucket}/models/none is not a bundle" in missing.err


def test_a_file_that_is_missing_in_a_store(bucket: str, tiny: Path, tmp_path: Path) -> None:
    push(Bundle.open(tiny), f"{bucket}/b")
    store, path = file_stores.open_store(f"{bucket}/b")
    store.delete_file(f"{path}/model.onnx")
    message = refusal(BundleError, lambda: pull(f"{bucket}/b", tmp_path / "out"))
    assert message == f"{bucket}/b lacks model.onnx, which its manifest lists"


def test_a_page_takes_no_files(tiny: Path) -> None:
    assert "takes no files" in refusal(UsageError, lambda: push(Bundle.open(tiny), "https://me:KEY@x.org/b"))
    assert "KEY" not in refusal(UsageError, lambda: push(Bundle.open(tiny), "https://me:KEY@x.org/b"))
