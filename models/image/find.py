"""The image files that a user names: single files, and everything in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.models.image.decode import SUFFIXES


@dataclass
class FoundImages:
    """Image files, and what was left out.

    Attributes:
        images: paths below the given ones, as they were typed; those of a folder sorted; each once.
        ignored: how many files in folders are hidden, or have another suffix than an image.
        unreadable: the error of each folder that cannot be read; its `filename` is the folder.
    """

    images: list[str] = field(default_factory=list)
    ignored: int = 0
    unreadable: list[OSError] = field(default_factory=list)


def find_images(paths: Sequence[Path]) -> FoundImages:
    """Every given file, whatever its name, and every image in the given folders and below them.

    Links to folders are not followed.
    """
    found = FoundImages()
    for path in paths:
        if path.is_dir():
            _search(path, found)
        else:
            found.images.append(str(path))
    found.images = list(dict.fromkeys(found.images))
    return found


def _search(top: Path, found: FoundImages) -> None:
    images: list[str] = []
    for folder, subfolders, names in os.walk(top, onerror=found.unreadable.append):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        wanted = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
        found.ignored += len(names) - len(wanted)
        prefix = "" if folder == "." else folder.removeprefix("./")
        images.extend(os.path.join(prefix, name) for name in wanted)  # noqa: PTH118 -- a Path each is slow
    found.images.extend(sorted(images))
