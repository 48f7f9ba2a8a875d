"""The routes: one file for each family, found by looking into this folder.

A file has its handlers, what the OpenAPI document says of them, and `FAMILY`, a `RouteFamily`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection

from pinnace.serving.routes import RouteFamily, RouteTable


def route_table(switched_on: Collection[str] = ()) -> RouteTable:
    """The table of all routes.

    Args:
        switched_on: the settings that are on: some families are there only with one of them.

    Raises:
        ValueError: two families have the same route.
    """
    found: list[RouteFamily] = []
    for module in pkgutil.iter_modules(__path__):
        family = getattr(importlib.import_module(f"{__name__}.{module.name}"), "FAMILY", None)
        if family is not None and (family.only_with is None or family.only_with in switched_on):
            found.append(family)
    return RouteTable(found)
