"""The routes: one file for each family, found by looking into this folder.

A file has its handlers, what the OpenAPI document says of them, and `FAMILY`, a `RouteFamily`.
"""

from __future__ import annotations

import importlib
import pkgutil

from pinnace.serving.routes import RouteFamily, RouteTable


def route_table() -> RouteTable:
    """The table of all routes.

    Raises:
        ValueError: two families have the same route.
    """
    found: list[RouteFamily] = []
    for module in pkgutil.iter_modules(__path__):
        family = getattr(importlib.import_module(f"{__name__}.{module.name}"), "FAMILY", None)
        if family is not None:
            found.append(family)
    return RouteTable(found)
