"""Files of a repository of the Hugging Face Hub, `hf://owner/name[@revision][/folder]`, by `huggingface_hub`.

The package knows the tokens, the endpoint (`HF_ENDPOINT`) and where a file is really kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.install import install_line
from pinnace.models.urls import split_scheme
from pinnace.models.web_files import CutError

SCHEME = "hf"

# One request for each: small enough to lose little, large enough to cost few.
_BLOCK = 8 << 20


def pinned(url: str) -> str:
    """The URL with the commit that its revision names now, so that all files come from the same one.

    Raises:
        FileNotFoundError: there is no such repository or revision, or it is not shown to everybody.
        CutError: the hub does not answer.
        UsageError: it is no name of a repository, or the hub refuses.
        MissingDependency: `huggingface_hub` is not installed.
    """
    with _told(url):
        place = _file_system(_endpoint()).resolve_path(url)
        kind = place.repo_type if hasattr(place, "repo_type") else None
        if kind != "model":
            raise UsageError(f"{url} is no repository of a model", expected="hf://OWNER/NAME[@REVISION]")
        found = _hub().HfApi(endpoint=_endpoint()).repo_info(place.repo_id, revision=place.revision)
        inside = f"/{place.path_in_repo}" if place.path_in_repo else ""
        return f"{SCHEME}://{place.repo_id}@{found.sha}{inside}"


def pieces(folder: str, name: str, start: int) -> Iterator[bytes]:
    """A file below a folder, from a byte on, piece by piece.

    Raises:
        As `pinned`.
    """
    path = f"{folder.rstrip('/')}/{name}"
    with (
        _told(path),
        _file_system(_endpoint()).open(path, "rb", block_size=_BLOCK, cache_type="none") as file,
    ):
        file.seek(min(start, file.size))
        while piece := file.read(_BLOCK):
            yield piece


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise MissingDependency(
            "hf:// needs the package huggingface_hub, which is not installed", hint=install_line("remote")
        ) from None
    return huggingface_hub


@lru_cache(maxsize=4)
def _file_system(endpoint: str | None) -> Any:
    return _hub().HfFileSystem(endpoint=endpoint, skip_instance_cache=True)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What the hub's package raises, as what it means. Its texts hold signed URLs, so none is passed on."""
    try:
        yield
    except (FileNotFoundError, UsageError, MissingDependency, CutError, GeneratorExit):
        raise
    except (ValueError, NotImplementedError):
        raise UsageError(f"{url} is no name of a repository", expected="hf://OWNER/NAME[@REVISION]") from None
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        name = type(error).__name__
        if status is not None and 400 <= status < 500 and status not in (408, 429):
            raise UsageError(
                f"{url} cannot be read: the hub answers {status}",
                hint="log in with `hf auth login`, or set HF_TOKEN" if status in (401, 403) else None,
            ) from None
        if status is None and not isinstance(error, OSError) and "httpx" not in type(error).__module__:
            raise
        raise CutError(name if status is None else f"{name}: {status}") from None
    finally:
        # What it keeps of a revision's files would be what a branch had then.
        _forget(url)


def _forget(url: str) -> None:
    """Keep nothing of a branch, which moves; of a commit, which does not, the list of files may stay."""
    revision = split_scheme(url)[1].partition("@")[2].partition("/")[0]
    if len(revision) != 40:
        _file_system.cache_clear()
