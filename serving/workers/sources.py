"""Where served bundles come from: of one that is elsewhere the server's folder has a link to what was pulled.

All processes of a server open a bundle by that link. It is moved to another version only when that one has
passed the checks in a worker: who starts later finds what the others answer with.
"""

from __future__ import annotations

import os
from pathlib import Path

from pinnace.models.bundle.pull_process import pull_apart
from pinnace.models.urls import is_uri, without_secrets
from pinnace.serving.settings import ServerSettings, environment_variable
from pinnace.serving.workers.server_folder import make_folder

_FOLDER = "bundles"
_URL = "url"


def with_local_bundles(settings: ServerSettings) -> tuple[ServerSettings, list[str]]:
    """The settings with a link in the place of each URL, and a sentence for each that the cache answers for.

    Raises:
        PinnaceError: a bundle cannot be pulled; see `pinnace.models.bundle.cache.local_copy`.
    """
    notes: list[str] = []
    bundles = tuple(_local(place, str(number), notes) for number, place in enumerate(settings.bundle))
    shadow = None if settings.shadow is None else _local(settings.shadow, "shadow", notes)
    return settings.model_copy(update={"bundle": bundles, "shadow": shadow}), notes


def pass_on_places(settings: ServerSettings) -> None:
    """Put the links into the environment: processes that start later must not pull anew."""
    given = settings.environment()
    for name in ("bundle", "shadow"):
        if any(url_of(Path(place)) for place in (*settings.bundle, settings.shadow) if place is not None):
            os.environ[environment_variable(name)] = given.get(environment_variable(name), "")


def _local(place: Path | str, number: str, notes: list[str]) -> Path:
    if isinstance(place, Path) or not is_uri(place):
        return Path(place).absolute()
    copy = pull_apart(place)
    if copy.note is not None:
        notes.append(copy.note)
    name = without_secrets(place).rstrip("/").rpartition("/")[2] or "bundle"
    folder = make_folder() / _FOLDER / number
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _URL).write_text(place)
    link = folder / name
    move(link, copy.folder)
    return link


def move(link: Path, folder: Path) -> None:
    """Let a link lead to another folder, at once for all who open it."""
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(folder)
    new.replace(link)


def url_of(folder: Path) -> str | None:
    """The URL of the bundle that a link leads to; None for a folder of the user's own."""
    if not folder.is_symlink() or folder.parent.parent.name != _FOLDER:
        return None
    try:
        return (folder.parent / _URL).read_text()
    except OSError:
        return None
