"""Where a command's bundle is: in a folder, or at a URL, from which it is pulled into the cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pinnace.models.urls import is_uri, without_secrets

# What looks like a server without its scheme: a host and a port.
_HOST_AND_PORT = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}(?:/.*)?")


class Elsewhere(str):
    """A URL that was typed for a bundle; it is pulled when the command runs, and not while words are read."""


class ElsewhereOrServer(Elsewhere):
    """A URL of a bundle, or of a server that answers."""


def bundle_folder(typed: str | Path) -> Path | Elsewhere:
    """The folder of a bundle as it was typed, or its URL."""
    return Elsewhere(typed) if isinstance(typed, str) and is_uri(typed) else Path(typed)


def bundle_or_server(typed: str | None) -> str | None:
    """A folder as it was typed; a URL; what is a host and a port, and no folder, as a server's URL."""
    if typed is None or Path(typed).exists():
        return typed
    if is_uri(typed):
        return ElsewhereOrServer(typed) if typed.startswith(("http://", "https://")) else Elsewhere(typed)
    return f"http://{typed}" if _HOST_AND_PORT.fullmatch(typed) else typed


def pulled(value: Any, progress: bool | None) -> Any:
    """What a command gets for what was typed: for the URL of a bundle its folder, once it was pulled.

    Args:
        value: of an argument or option; of several, a sequence.
        progress: whether to show what comes; None means on a terminal only.

    Raises:
        PinnaceError: it cannot be pulled; see `pinnace.models.bundle.cache.local_copy`.
    """
    if isinstance(value, list | tuple):
        return type(value)(pulled(each, progress) for each in value)
    if not isinstance(value, Elsewhere):
        return value
    if isinstance(value, ElsewhereOrServer) and not is_bundle(value):
        return str(value)
    from pinnace.cli.console import only_data, print_note
    from pinnace.cli.progress import steps
    from pinnace.models.bundle.cache import local_copy

    with only_data(), steps(progress) as show:
        copy = local_copy(str(value), show)
    if copy.note is not None:
        print_note(copy.note)
    return str(copy.folder) if isinstance(value, ElsewhereOrServer) else copy.folder


def is_bundle(url: str) -> bool:
    """Whether a bundle is at an `https://` URL, and not a server that would answer there."""
    import json

    from pinnace.models.bundle import manifest
    from pinnace.models.errors import PinnaceError
    from pinnace.models.web_files import CutError, opened

    data = b""
    try:
        with opened(url, manifest.FILE_NAME) as (_, pieces):
            for piece in pieces:
                data += piece
                if len(data) > manifest.MOST_BYTES:
                    return False
        return "schema_version" in json.loads(data)
    except (PinnaceError, CutError, OSError, ValueError, TypeError, RecursionError):
        return False


def own_folder(typed: str | Path) -> Path:
    """The folder of a bundle that a command will change: none that is elsewhere.

    Raises:
        UsageError: it is a URL.
    """
    if isinstance(typed, Path) or not is_uri(typed):
        return Path(typed)
    from pinnace.models.errors import UsageError

    shown = without_secrets(typed)
    raise UsageError(
        f"{shown} is elsewhere, and this changes a bundle",
        hint=f"pinnace pull {shown} -o DIR, then give DIR",
    )
