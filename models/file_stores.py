"""Files on a local disk or in a store such as S3, named by a path or a URI, through `pyarrow.fs`."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.install import install_line
from pinnace.models.urls import is_uri as is_uri
from pinnace.models.urls import split_scheme

TEMPORARY = "_tmp"
"""The folder below that of `write` in which files are until they are whole."""

_BLOCK = 1 << 20
# What a store's library says where nothing answers; anything else is an answer.
_SILENCE = re.compile(
    "NETWORK_CONNECTION|curlCode|TIMEOUT|timed? ?out|UNAVAILABLE|INTERNAL_FAILURE|SLOW_DOWN|THROTTL"
    "|resolve host|unreachable|Connection|connect to",
    re.IGNORECASE,
)


class StoreUnreachable(UsageError):
    """A store that does not answer, as one that says no would."""


def absolute(name: str) -> str:
    """A local path as every process of this machine understands it; a URI as it is, `file://` as the path."""
    if name.startswith("file://"):
        name = name.removeprefix("file://")
    return name if is_uri(name) else os.path.abspath(name)  # noqa: PTH100 -- links stay


def join(folder: str, name: str) -> str:
    """A name below a folder."""
    return posixpath.join(folder, name)


def open_store(name: str) -> tuple[Any, str]:
    """The `pyarrow.fs.FileSystem` of a path or URI, and the path in it.

    Raises:
        UsageError: nothing here knows such a URI, or the store refuses.
    """
    scheme, rest = split_scheme(name)
    if not scheme:
        return _file_system("file", ""), name
    return _file_system(scheme, rest.partition("/")[0]), rest.rstrip("/")


@lru_cache(maxsize=64)
def _file_system(scheme: str, authority: str) -> Any:
    try:
        from pyarrow import ArrowException, fs
    except ModuleNotFoundError:
        raise MissingDependency(
            f"{scheme}:// needs the package pyarrow, which is not installed",
            hint=install_line("remote"),
        ) from None

    if scheme == "file":
        return fs.LocalFileSystem()
    query = ""
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and own:
        # So a bucket is part of the path; from the variable alone, pyarrow makes it a part of the host name.
        protocol, _, host = own.rstrip("/").rpartition("://")
        query = "?" + urlencode({"endpoint_override": host, "scheme": protocol or "https"})
    if scheme in ("gs", "gcs"):
        query = "?retry_limit_seconds=10"  # it is a quarter of an hour otherwise
    shown = f"{scheme}://{authority.rpartition('@')[2]}"
    try:
        if scheme == "az":
            return _azure(fs)
        return fs.FileSystem.from_uri(f"{scheme}://{authority}{query}")[0]
    except (ArrowException, ValueError, OSError) as error:
        refused = str(error).splitlines()[0].replace(authority, authority.rpartition("@")[2])
        if isinstance(error, OSError) and _SILENCE.search(refused):
            raise StoreUnreachable(f"{shown} cannot be reached: {refused}") from None
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError):
        raise UsageError(
            f"{shown} cannot be opened: {refused}",
            hint="name a store that pyarrow knows, such as s3:// or gs://, or install its package for fsspec",
        ) from None


def _azure(fs: Any) -> Any:
    """Azure's store: its account and key are not in the URI but where Azure's own tools look."""
    given = os.environ.get
    parts = (part.partition("=") for part in given("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    said = {name: value for name, _, value in parts}
    account = said.get("AccountName") or given("AZURE_STORAGE_ACCOUNT") or given("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise UsageError(
            "az:// needs the name of the storage account",
            hint="set AZURE_STORAGE_ACCOUNT, or AZURE_STORAGE_CONNECTION_STRING",
        )
    options = {
        "account_key": said.get("AccountKey") or given("AZURE_STORAGE_KEY"),
        "sas_token": said.get("SharedAccessSignature") or given("AZURE_STORAGE_SAS_TOKEN"),
    }
    endpoint = said.get("BlobEndpoint")
    if endpoint:
        scheme, rest = split_scheme(endpoint)
        authority = rest.partition("/")[0]
        options |= {"blob_storage_scheme": scheme, "dfs_storage_scheme": scheme}
        options |= {"blob_storage_authority": authority, "dfs_storage_authority": authority}
    return fs.AzureFileSystem(account, **{name: value for name, value in options.items() if value})


def kind_of(name: str) -> str:
    """`file`, `folder` or `nothing`.

    Raises:
        UsageError: the store cannot be asked.
    """
    store, path = open_store(name)
    try:
        kind = store.get_file_info(path).type.name
    except OSError as error:
        raise not_reached(name, error) from None
    return {"File": "file", "Directory": "folder"}.get(kind, "nothing")


def read(name: str) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: as the store has it.
    """
    store, path = open_store(name)
    with store.open_input_stream(path) as stream:
        data: bytes = stream.read()
    return data


def write(folder: str, name: str, data: bytes) -> None:
    """Write a file below a folder: under a temporary name first, then moved into place.

    Raises:
        OSError: as the store has it.
    """
    store, path = open_store(folder)
    temporary = posixpath.join(path, TEMPORARY, f"{posixpath.basename(name)}.{uuid.uuid4().hex}")
    place = posixpath.join(path, name)
    store.create_dir(posixpath.dirname(temporary), recursive=True)
    store.create_dir(posixpath.dirname(place), recursive=True)
    try:
        with store.open_output_stream(temporary) as stream:
            stream.write(data)
        store.move(temporary, place)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong before is what is to be known
            store.delete_file(temporary)
        raise


def copy_in(path: Path, folder: str, name: str) -> None:
    """Write a local file below a folder, piece by piece; a store shows it once it is whole.

    Raises:
        OSError: as the store has it.
    """
    store, base = open_store(folder)
    place = posixpath.join(base, name)
    store.create_dir(posixpath.dirname(place), recursive=True)
    with path.open("rb") as file, store.open_output_stream(place) as out:
        shutil.copyfileobj(file, out, _BLOCK)


def pieces(folder: str, name: str, start: int) -> Iterator[bytes]:
    """A file below a folder, from a byte on, piece by piece.

    Raises:
        OSError: as the store has it.
    """
    store, base = open_store(folder)
    with store.open_input_file(posixpath.join(base, name)) as file:
        file.seek(start)
        while piece := file.read(_BLOCK):
            yield piece


def remove(name: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    store, path = open_store(name)
    if kind_of(name) == "folder":
        store.delete_dir(path)


def names_in(folder: str) -> list[str]:
    """The names of the files in a folder; none where it is missing."""
    from pyarrow import fs

    store, path = open_store(folder)
    found = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [info.base_name for info in found if info.is_file]


def not_reached(name: str, error: OSError) -> UsageError:
    """A store that does not answer, or says no."""
    text = said(error)
    silent = isinstance(error, ConnectionError | TimeoutError) or _SILENCE.search(text)
    kind = StoreUnreachable if silent else UsageError
    return kind(f"{_shown(name)} cannot be reached: {text}")


def not_written(name: str, error: OSError) -> UsageError:
    """A place that takes no files."""
    return UsageError(
        f"{_shown(name)} cannot be written: {said(error)}",
        hint="what is there is whole; run the same command again to continue it",
    )


def _shown(name: str) -> str:
    """A path or URI without the keys that a URI may have before its host; `?` and `#` are parts of names."""
    scheme, rest = split_scheme(name)
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}" if scheme else name


def said(error: OSError) -> str:
    """The first line of what a store says."""
    return (os.strerror(error.errno) if error.errno else str(error).splitlines()[0]).rstrip(".")


def local_folder(name: str) -> Path | None:
    """The local folder of a name, or None for a store."""
    return None if is_uri(name) else Path(name)
