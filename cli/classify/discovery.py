"""The images that a user names: files, and whatever lies in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.models.image.decode import SUFFIXES


@dataclass
class Found:
    """What was found.

    Attributes:
        images: paths as they were typed, with what lies below added; those of a folder sorted; each once.
        ignored: how many files of folders have no suffix of an image, or are hidden.
        closed: folders that cannot be read, and why.
    """

    images: list[str] = field(default_factory=list)
    ignored: int = 0
    closed: list[OSError] = field(default_factory=list)


def find_images(paths: Sequence[Path]) -> Found:
    """Files as they are, whatever they are called, and every image below the folders.

    Links to folders are not followed.
    """
    found = Found()
    for path in paths:
        if path.is_dir():
            _search(path, found)
        else:
            found.images.append(str(path))
    found.images = list(dict.fromkeys(found.images))
    return found


def _search(top: Path, found: Found) -> None:
    images: list[str] = []
    for folder, subfolders, names in os.walk(top, onerror=found.closed.append):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        wanted = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
        found.ignored += len(names) - len(wanted)
        prefix = "" if folder == "." else folder.removeprefix("./")
        images.extend(os.path.join(prefix, name) for name in wanted)  # noqa: PTH118 -- a Path each is slow
    found.images.extend(sorted(images))
