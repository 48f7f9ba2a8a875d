"""The folders that BentoML and the workers write to, where the usual ones cannot be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pinnace.models.errors import UsageError
from pinnace.serving.workers.server_folder import make_folder

VARIABLE = "BENTOML_HOME"


def ensure_folders() -> None:
    """See that there is a folder for temporary files, and move BentoML's home there if it cannot be made.

    In a container with a read-only root, or for a user without a home, BentoML would end with the system's
    error. It keeps nothing there that a server of ours needs later.

    Raises:
        UsageError: no folder for temporary files can be written.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise UsageError(
            "there is no folder for temporary files that can be written",
            hint="set TMPDIR to one, in a container to an empty volume that is mounted for it",
        ) from None
    home = Path(os.environ.get(VARIABLE) or Path("~/bentoml").expanduser())
    if _can_be_written(home):
        return
    os.environ[VARIABLE] = str(make_folder() / "bentoml")


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
