"""Whether what serves is installed; asked before anything of it is imported."""

from __future__ import annotations

import importlib.util

from pinnace.models.errors import MissingDependency
from pinnace.models.install import install_line


def require_packages() -> None:
    """Check that the packages of the extra `serve` are there.

    Raises:
        MissingDependency: BentoML, or what reads forms for it, is not installed.
    """
    for module in ("bentoml", "python_multipart"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependency(
                f"serving needs {module}, which is not installed", hint=install_line("serve")
            )
