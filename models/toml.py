"""TOML files that users write."""

from __future__ import annotations

import sys
from pathlib import Path

from pinnace.models.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path, what: str) -> dict[str, object]:
    """Read a TOML file.

    Args:
        path: the file.
        what: what it should be, for the error's sentence, such as `preprocessing`.

    Raises:
        UsageError: the file cannot be read, or is no TOML.
    """
    try:
        data: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"there is no {what} file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    return data
