"""Which files of a folder are images to calibrate with and to evaluate on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pinnace.export.calibration_images import images_in
from pinnace.models.errors import UsageError


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_in_the_order_of_their_paths_without_hidden_ones(tmp_path: Path) -> None:
    make(tmp_path, "b/2.JPG", "b/10.png", "a.webp", "b/._2.jpg", ".cache/x.jpg", "notes.txt")
    assert images_in(tmp_path) == [tmp_path / name for name in ("a.webp", "b/10.png", "b/2.JPG")]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match="there are no images in"):
        images_in(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        images_in(tmp_path / "missing")


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "closed/x.jpg", "y.jpg")
    scandir = os.scandir

    def closed(path: str) -> object:  # the user who runs this may be root, who can read every folder
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UsageError, match="closed cannot be read: Permission denied"):
        images_in(tmp_path)
