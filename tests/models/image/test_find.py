"""Which files of a folder are tried."""

from __future__ import annotations

import os
from pathlib import Path

from pinnace.models.image.find import find_images


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_of_all_subfolders_sorted_as_they_were_typed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "photos", "b.JPG", "a/z.png", "a/deep/er/y.webp", "c.tiff")
    make(tmp_path / "photos", "notes.txt", ".hidden.jpg", ".cache/x.jpg", "a/jpg")
    expected = ["photos/a/deep/er/y.webp", "photos/a/z.png", "photos/b.JPG", "photos/c.tiff"]
    found = find_images([Path("photos/")])
    assert found.images == expected
    assert found.ignored == 3  # what a hidden folder holds is not even looked at
    assert find_images([Path()]).images == expected
    assert find_images([Path("./photos")]).images == expected
    monkeypatch.chdir("photos/a")
    assert find_images([Path("..")]).images == [
        "../a/deep/er/y.webp",
        "../a/z.png",
        "../b.JPG",
        "../c.tiff",
    ]


def test_a_file_that_is_named_is_tried_whatever_it_is_called_and_once(tmp_path: Path) -> None:
    make(tmp_path, "strange.name", "a.jpg")
    found = find_images([tmp_path / "strange.name", tmp_path / "a.jpg", tmp_path, tmp_path / "missing"])
    assert found.images == [str(tmp_path / name) for name in ("strange.name", "a.jpg", "missing")]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "y.jpg").symlink_to(tmp_path / "a" / "x.jpg")
    assert [Path(image).name for image in find_images([tmp_path]).images] == ["x.jpg", "y.jpg"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path, "closed/x.jpg", "y.jpg")
    scandir = os.scandir

    def closed(path: str) -> object:  # whoever runs this may be root, to whom no folder is closed
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = find_images([tmp_path])
    assert found.images == [str(tmp_path / "y.jpg")]
    assert [error.filename for error in found.unreadable] == [str(tmp_path / "closed")]
