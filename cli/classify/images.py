"""The images that a command is given: files, and what its folders hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinnace.models.image.find import FoundImages


def images_in(paths: Sequence[Path]) -> FoundImages:
    """Find the images; folders that cannot be read are named on standard error.

    Raises:
        UsageError: there are none.
    """
    from pinnace.cli.classify.display import print_failure
    from pinnace.cli.console import err
    from pinnace.models.errors import ImageError, UsageError
    from pinnace.models.image.decode import SUFFIXES
    from pinnace.models.image.find import find_images

    found = find_images(paths)
    for error in found.unreadable:
        problem = ImageError(f"the folder cannot be read: {error.strerror}")
        print_failure(err(), str(error.filename), problem)
    if not found.images:
        raise UsageError(
            f"there are no images in {', '.join(map(str, paths))}",
            expected=f"files that end in {', '.join(SUFFIXES)}",
        )
    return found
