"""A tree of images with one folder for each class, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pinnace.export.calibration_images import images_in
from pinnace.models.errors import UsageError

_WNIDS = Path(__file__).with_name("wnids.txt")
_ORDER_HINT = (
    "if the network was trained on folders named so, export it with --labels and the folders' names in the "
    "order that it was trained with, one a line"
)


@dataclass(frozen=True)
class LabelledImage:
    """An image file and the index of its class."""

    file: Path
    target: int


def read_image_folder(folder: Path, labels: Sequence[str]) -> list[LabelledImage]:
    """The images of a tree, and the class that the folder right below its top gives to each.

    A folder is named after a label (capitals, `_` and `-` do not matter), a WordNet id such as `n01440764`
    for a model of the 1000 ImageNet classes, or the index of a class.

    Args:
        folder: the top of the tree.
        labels: one class name per output.

    Raises:
        UsageError: there is no such folder, it has no images or no folders, or one of them is no class.
    """
    classes = Classes(labels)
    found = []
    loose = 0
    for file in images_in(folder):
        parts = file.relative_to(folder).parts
        if len(parts) == 1:
            loose += 1
        else:
            found.append((file, parts[0]))
    if not found:
        raise UsageError(
            f"the {loose} images in {folder} are not in a folder of a class",
            expected=f"one folder for each class, such as {folder / labels[0]}",
        )
    targets = {name: classes.index(name) for name in sorted({name for _, name in found})}
    unknown = [name for name, target in targets.items() if target is None]
    if unknown:
        raise UsageError(
            f"{len(unknown)} of the {len(targets)} folders in {folder} do not name a class",
            expected="a label, a WordNet id (for the 1000 classes of ImageNet), or an index",
            got=", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else ""),
            hint=_ORDER_HINT if all(name.isdecimal() for name in targets) else None,
        )
    return [LabelledImage(file, target) for file, name in found if (target := targets[name]) is not None]


def order_note(folder: Path, labels: Sequence[str]) -> str | None:
    """What has to be said where folders that are numbers are taken for indices, or None.

    torchvision's ImageFolder counts folders in the order of their text, so that `10` comes before `2`.
    """
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    if not names or not all(name.isdecimal() for name in names) or list(labels) != _indices(len(labels)):
        return None
    if sorted(names) == sorted(names, key=int):
        return None
    return (
        f"the folders in {folder} were taken for the indices of classes; torchvision's ImageFolder counts "
        f"them in the order of text ({', '.join(sorted(names)[:3])}, ...): {_ORDER_HINT}"
    )


def folder_labels(folder: Path, classes: int) -> tuple[str, ...] | None:
    """The names of a tree's folders in the order of their text, where there is one for each class.

    That is the order of torchvision's ImageFolder and of Keras' image_dataset_from_directory.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(names) != classes or all(name.isdecimal() for name in names):
        return None
    return tuple(names)


def _indices(count: int) -> list[str]:
    return [str(index) for index in range(count)]


class Classes:
    """Finds the class that a folder's name stands for."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._count = len(labels)
        self._exact = _unique(labels)
        self._plain = _unique([_plain(label) for label in labels])
        wnids = _WNIDS.read_text().split()
        self._wnids = _unique(wnids) if len(labels) == len(wnids) else {}

    def index(self, name: str) -> int | None:
        """The index of the class, or None where the name is no class, or that of several."""
        for names, key in ((self._exact, name), (self._wnids, name), (self._plain, _plain(name))):
            if key in names:
                return names[key]
        if name.isdecimal() and int(name) < self._count:
            return int(name)
        return None


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def _unique(names: Sequence[str]) -> dict[str, int]:
    """Index by name, without the names that stand there twice: ImageNet has two `crane`s."""
    indices: dict[str, int] = {}
    twice = set()
    for index, name in enumerate(names):
        if name in indices:
            twice.add(name)
        indices[name] = index
    return {name: index for name, index in indices.items() if name not in twice}
