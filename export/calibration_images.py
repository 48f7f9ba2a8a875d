"""Folders of images that a user gives for calibration, proof or evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pinnace.models.concurrency import map_in_order
from pinnace.models.cpus import available_cpus
from pinnace.models.errors import ImageError, PinnaceError, UsageError
from pinnace.models.image.decode import SUFFIXES, open_image
from pinnace.models.image.find import find_images
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.records.image_facts import ImageFacts, facts_of

# About 500 calibration images are customary; more change little and take long.
MOST_IMAGES = 512
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class PreparedImages:
    """Images as a model wants to eat them.

    Attributes:
        inputs: float32, shape (images, channels, height, width).
        files: their files, in the same order.
        problems: a sentence for each file that could not be read.
        facts: what each is like, in the same order.
    """

    inputs: npt.NDArray[np.float32]
    files: tuple[Path, ...]
    problems: tuple[str, ...]
    facts: tuple[ImageFacts, ...] = ()


def images_in(folder: Path) -> list[Path]:
    """The image files in a folder and below it, in the order of their paths.

    Raises:
        UsageError: the folder does not exist, has no images, or cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", expected="a folder with images")
    found = find_images([folder])
    for error in found.unreadable:
        raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}")
    if not found.images:
        raise UsageError(
            f"there are no images in {folder}", expected="files that end in " + ", ".join(SUFFIXES)
        )
    return sorted(map(Path, found.images))


def prepare_folder(folder: Path, preprocess: Preprocess, progress: Progress) -> PreparedImages:
    """Preprocess the images of a folder, at most 512 of them and 1 GiB, evenly chosen among all.

    Raises:
        UsageError: as `images_in`, or none of them can be read.
    """
    files = images_in(folder)
    first = preprocess.crop or preprocess.resize
    size = 4 * preprocess.channels * (first[0] * first[1] if isinstance(first, tuple) else 1)
    most = max(1, min(MOST_IMAGES, _MOST_BYTES // size))
    if len(files) > most:
        files = [files[index * len(files) // most] for index in range(most)]
    return prepare(files, preprocess, progress)


def prepare(files: Sequence[Path], preprocess: Preprocess, progress: Progress = ignore) -> PreparedImages:
    """Preprocess images; those that cannot be read are skipped and named.

    Raises:
        UsageError: none can be read.
    """
    inputs, read, problems, facts = [], [], [], []

    def ready(path: Path) -> tuple[npt.NDArray[np.generic], ImageFacts]:
        image = open_image(path)
        made = preprocess.apply(image)
        return made, facts_of(image, path.stat().st_size, made, preprocess)

    with closing(map_in_order(ready, files, available_cpus(), join_timeout=None)) as results:
        for number, (path, outcome) in enumerate(results, 1):
            progress(Event(Stage.PREPARE_IMAGES, done=number, total=len(files)))
            if isinstance(outcome, ImageError):
                problems.append(f"{path} was skipped: {outcome.message}")
            elif isinstance(outcome, PinnaceError):
                raise outcome
            else:
                inputs.append(outcome[0])
                facts.append(outcome[1])
                read.append(path)
    if not inputs:
        raise UsageError("none of the images can be read", got=problems[0] if problems else "no files")
    return PreparedImages(np.stack(inputs), tuple(read), tuple(problems), tuple(facts))
