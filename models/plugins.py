"""How a loader, a runtime or a format is found: a module of the folder that declares one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any


def declared(package: str, folder: Iterable[str], name: str) -> list[Any]:
    """What the modules of a package declare under a name, in the order of the modules' names.

    Args:
        package: the package's full name.
        folder: its `__path__`.
        name: such as `RUNTIME`; a module that does not have it is passed over.
    """
    modules = sorted(module.name for module in pkgutil.iter_modules(folder))
    values = (getattr(importlib.import_module(f"{package}.{module}"), name, None) for module in modules)
    return [value for value in values if value is not None]
