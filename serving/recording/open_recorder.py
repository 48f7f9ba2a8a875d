"""Opens the record that the settings name."""

from __future__ import annotations

import errno
import os

from pinnace.models import file_stores
from pinnace.models.errors import UsageError
from pinnace.models.records.rows import require_pyarrow, schema
from pinnace.models.urls import without_secrets
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.recording.part_writer import PartWriter
from pinnace.serving.recording.recorder import Recorder
from pinnace.serving.settings import ServerSettings

_STORES = ("abfs", "abfss", "file", "gcs", "gs", "hdfs", "s3", "viewfs")  # what pyarrow has of its own
_READ_ONLY = ("http", "https")

# What a full or dead disk says: it stops the record when it is written, not the server when it starts.
_MAY_MEND = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)


def check_record(settings: ServerSettings) -> None:
    """Refuse settings with which nothing could be recorded. No store is asked: it may be dead for a while.

    Raises:
        UsageError: the images are to be kept of no record, or its folder cannot be written.
        MissingDependency: pyarrow is not installed.
    """
    if settings.record is None:
        if settings.record_images:
            raise UsageError(
                "the setting record_images keeps the images of a record, and none is named",
                hint="name a folder or a URL: --record DIR",
            )
        return
    require_pyarrow()
    folder = file_stores.local_folder(settings.record)
    if folder is None:
        _check_scheme(settings.record)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno not in _MAY_MEND:
            raise UsageError(
                f"the record {folder} cannot be written: {error.strerror}", hint="name another folder"
            ) from None


def record_sentences(settings: ServerSettings) -> list[str]:
    """What is recorded, and where, for the user; nothing where nothing is."""
    if settings.record is None:
        return []
    which = (
        "every answer"
        if settings.record_share == 1
        else f"a share of {settings.record_share:.4g} of the answers"
    )
    what = " with the image" if settings.record_images else ""
    place = without_secrets(settings.record) if file_stores.is_uri(settings.record) else settings.record
    return [f"{which} is recorded{what} in {place}"]


def _check_scheme(place: str) -> None:
    """Refuse a URI of a kind that nothing here writes to."""
    scheme = place.partition("://")[0]
    if scheme in _STORES:
        return
    try:
        import fsspec

        if scheme not in _READ_ONLY:
            fsspec.get_filesystem_class(scheme)
            return
    except (ImportError, ValueError):
        pass
    raise UsageError(
        f"the record cannot be written to {scheme}://",
        expected="a folder, or a store that takes files, such as s3:// or gs://",
        got=place,
    )


def open_recorder(settings: ServerSettings, metrics: Metrics | None) -> Recorder | None:
    """The recorder of this worker; None where nothing is recorded, or nothing is counted."""
    if settings.record is None or metrics is None:
        return None
    require_pyarrow()
    schema()  # not while the first answers are given
    writer = PartWriter(file_stores.absolute(settings.record), settings.record_seconds, settings.record_max)
    return Recorder(writer, settings.record_share, images=settings.record_images, metrics=metrics)
