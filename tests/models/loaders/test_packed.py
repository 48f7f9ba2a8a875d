"""Archives of others: what is unpacked of them, and which are refused before anything is."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from pinnace.models.errors import SourceError
from pinnace.models.loaders.packed import look_into, require_inside
from support.errors import refusal

FILES = {"top/META/m.json": b"{}", "top/weights.pt": b"weights", "top/sub/x.txt": b"x"}


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_of(path: Path, files: dict[str, bytes], before: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(before + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.fixture(params=["zip", "tar", "tar with dots", "folder"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "zip":
        return zip_of(tmp_path / "a.zip", FILES)
    if request.param == "folder":
        return folder_of(tmp_path / "a", FILES)
    return tar_of(tmp_path / "a.tgz", FILES, "./" if "dots" in request.param else "")


def test_files_are_found_below_a_marker_read_and_unpacked(packed: Path, tmp_path: Path) -> None:
    found = look_into(packed).below("META/m.json")
    assert found is not None
    assert found.sizes == {"META/m.json": 2, "weights.pt": 7, "sub/x.txt": 1}
    assert found.read("weights.pt", 10) == b"weights"
    (into := tmp_path / "into").mkdir()
    folder = found.unpack(["sub/x.txt"], into)
    assert (folder / "sub" / "x.txt").read_bytes() == b"x"
    assert not (into / "weights.pt").exists()
    assert look_into(packed).below("none.json") is None


def test_what_is_asked_for_has_to_be_there_and_small(packed: Path) -> None:
    found = look_into(packed)
    assert "has no file 'none'" in refusal(SourceError, lambda: found.read("none", 10))
    assert "has more than" in refusal(SourceError, lambda: found.read("top/weights.pt", 3))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\x", "C:x", "", "."])
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    message = refusal(SourceError, lambda: require_inside(tmp_path, name))
    assert message == f"{tmp_path} names a file that would lie outside of its folder: {name!r}"


def test_an_archive_with_such_a_name_is_refused_whole(tmp_path: Path) -> None:
    for path in (zip_of(tmp_path / "a.zip", {"../x": b""}), tar_of(tmp_path / "a.tgz", {"../x": b""})):
        assert "outside of its folder: '../x'" in refusal(SourceError, lambda path=path: look_into(path))


def test_links_and_devices_are_no_files(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            info = tarfile.TarInfo("weights.pt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        assert "a link or a device" in refusal(SourceError, lambda: look_into(tmp_path / "a.tar"))


def test_a_bomb_is_refused_by_the_sizes_that_it_declares(tmp_path: Path) -> None:
    zeros = bytes(100 << 20)
    for path in (zip_of(tmp_path / "a.zip", {"x": zeros}), tar_of(tmp_path / "a.tgz", {"x": zeros})):
        assert path.stat().st_size < 200_000
        message = refusal(SourceError, lambda path=path: look_into(path))
        assert message.startswith(f"{path} was not unpacked: ")
        assert "to which no weights shrink" in message


def test_a_zip_that_declares_less_than_it_holds_gives_no_more(tmp_path: Path) -> None:
    data = bytearray(zip_of(tmp_path / "a.zip", {"x": bytes(1000)}).read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    assert "is damaged" in refusal(SourceError, lambda: look_into(tmp_path / "a.zip").read("x", 10_000))


def test_two_files_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x", "2")
    assert "two files of the name 'x'" in refusal(SourceError, lambda: look_into(tmp_path / "a.zip"))


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "a.zip", {"x": bytes(range(256)) * 50}).read_bytes()
    for share in (0.2, 0.5, 0.9):
        (tmp_path / "b.zip").write_bytes(whole[: int(len(whole) * share)])
        assert "neither a zip nor a tar" in refusal(SourceError, lambda: look_into(tmp_path / "b.zip"))
    whole = tar_of(tmp_path / "a.tgz", {"x": bytes(range(256)) * 5000}).read_bytes()
    (tmp_path / "b.tgz").write_bytes(whole[: len(whole) // 2])
    assert refusal(SourceError, lambda: look_into(tmp_path / "b.tgz")).startswith(f"{tmp_path}/b.tgz is ")
    assert "there is no file" in refusal(SourceError, lambda: look_into(tmp_path / "none"))
