"""A bundle wherever it is: in a folder, or at a URL."""

from __future__ import annotations

import logging
from pathlib import Path

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.cache import local_copy
from pinnace.models.urls import is_uri

logger = logging.getLogger("pinnace.models")


def open_bundle_at(place: Path | str) -> Bundle:
    """Open a bundle; one at a URL, such as `s3://bucket/folder`, is pulled into the cache first.

    Raises:
        PinnaceError: as `Bundle.open`, and as `pinnace.models.bundle.cache.local_copy` of a URL.
    """
    if isinstance(place, Path) or not is_uri(place):
        return Bundle.open(place)
    copy = local_copy(place)
    if copy.note is not None:
        logger.warning("%s", copy.note)
    return Bundle.open(copy.folder)
