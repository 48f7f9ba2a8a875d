"""What a route is, and the table of all routes, from which everything is read that depends on a path.

A family of routes is one file in `serving/http/route_families/`, and nothing else lists routes. The table
says what is served, what needs no API key, what is not logged, what a path is counted as, which form its
errors have, what `GET /` lists and what the OpenAPI document describes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp

Json: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
ErrorForm: TypeAlias = Callable[[dict[str, dict[str, str | None]]], Json]

# What a path without a route is counted and logged as: whoever asks for many must not fill the memory.
OTHER = "other"


@dataclass(frozen=True)
class ServerFacts:
    """What the OpenAPI document says of the models that are served.

    Attributes:
        names: of the models, the default one first; none where no server runs.
        versions: of the models, in the same order.
        default_top_k: the most classes that the default model answers with.
        any_top_k: the most that any model answers with.
        max_batch_images: the most images in a batch.
        classifiers: the names of the models that classify.
        embedders: the names of the models that embed.
        several_labels: the names of the models of which several labels may be true.
        explains: whether `POST /explain` is answered.
    """

    names: tuple[str, ...]
    versions: tuple[str, ...]
    default_top_k: int | None
    any_top_k: int | None
    max_batch_images: int
    classifiers: tuple[str, ...] = ()
    embedders: tuple[str, ...] = ()
    several_labels: tuple[str, ...] = ()
    explains: bool = True

    def default_is(self, names: tuple[str, ...]) -> bool:
        """Whether the default model is one of these; also where no server runs."""
        return not self.names or self.names[0] in names

    def any_is(self, names: tuple[str, ...]) -> bool:
        """Whether a model is one of these; also where no server runs."""
        return not self.names or bool(names)


@dataclass(frozen=True)
class Route:
    """One method of one path.

    Attributes:
        path: as Starlette writes it; the value of `{name:path}` may have slashes.
        method: the HTTP method.
        handler: answers it; None where BentoML does, or `app`.
        app: an application that answers everything below the path, instead of a handler.
        open: whether it is answered without the API key.
        logged: whether a request has a line in the access log.
        counted_as: the route in metrics and logs; by default the path.
        fast: whether it is answered past the routers; a POST is refused by the protocol while the server is
            full.
        listed: what `GET /` says of it; None where it is not listed.
        operation: describes it as an OpenAPI operation; None where it is left out of the document, and it
            gives None where no model answers it.
        bodies: the types of bodies that the operation refers to: pydantic models, or what pydantic reads.
    """

    path: str
    method: str = "GET"
    handler: Handler | None = None
    app: ASGIApp | None = None
    open: bool = False
    logged: bool = True
    counted_as: str | None = None
    fast: bool = False
    listed: str | None = None
    operation: Callable[[ServerFacts], Json | None] | None = None
    bodies: tuple[type, ...] = ()

    @functools.cached_property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return re.sub(r"{(\w+):\w+}", r"{\1}", self.path)

    @functools.cached_property
    def label(self) -> str:
        """What a request is counted and logged as."""
        return self.counted_as or self.template


def plain_form(body: dict[str, dict[str, str | None]]) -> Json:
    """The body of an error as most routes answer it: `{"error": {"code", "message", "hint"}}`."""
    return body


@dataclass(frozen=True)
class RouteFamily:
    """Routes that belong together.

    Attributes:
        routes: in the order in which the router tries them.
        rank: families are listed and tried by it, smallest first.
        prefix: where it is given, the family owns every path below it, whether or not there is a route.
        prefix_listed: what `GET /` says of the prefix.
        error_form: makes the body of an error of a path below the prefix.
        only_with: the setting that has to be on for these routes; None where they are always there.
    """

    routes: tuple[Route, ...]
    rank: int = 100
    prefix: str | None = None
    prefix_listed: str | None = None
    error_form: ErrorForm = plain_form
    only_with: str | None = None

    def owns(self, path: str) -> bool:
        """Whether a path is the prefix, or below it."""
        return self.prefix is not None and (path == self.prefix or path.startswith(f"{self.prefix}/"))


class RouteTable:
    """All routes."""

    def __init__(self, families: Iterable[RouteFamily]) -> None:
        """Read the routes of these families.

        Raises:
            ValueError: two routes are the same, or routes of one path differ in what is decided by the path.
        """
        self.families = tuple(sorted(families, key=lambda family: family.rank))
        self.routes = tuple(route for family in self.families for route in family.routes)
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        known: dict[str, list[Route]] = {}
        for route in self.routes:
            same = known.setdefault(route.path, [])
            for other in same:
                if other.method == route.method:
                    raise ValueError(f"there are two routes {route.method} {route.path}")
                if (other.open, other.logged, other.label) != (route.open, route.logged, route.label):
                    raise ValueError(f"the routes of {route.path} must agree in open, logged and counted_as")
            same.append(route)
            if route.app is not None:
                self._patterns.append((re.compile(f"^{re.escape(route.path)}/"), route))
            elif "{" in route.path:
                self._patterns.append((compile_path(route.path)[0], route))
            else:
                self._exact.setdefault(route.path, route)

    def find(self, path: str) -> Route | None:
        """A route of a path, whatever its method; None where there is none."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        return next((route for pattern, route in self._patterns if pattern.match(path)), None)

    def label(self, path: str) -> str:
        """What a path is counted and logged as: one of a few names, whatever the path."""
        route = self.find(path)
        return OTHER if route is None else route.label

    def is_open(self, path: str) -> bool:
        """Whether a path is answered without the API key."""
        route = self.find(path)
        return route is not None and route.open

    def is_logged(self, path: str) -> bool:
        """Whether a request for a path has a line in the access log."""
        route = self.find(path)
        return route is None or route.logged

    def error_form(self, path: str) -> ErrorForm:
        """What makes the body of an error of a path."""
        return next((family.error_form for family in self.families if family.owns(path)), plain_form)

    def fast_routes(self, method: str = "POST") -> dict[str, Handler]:
        """The handlers of the paths of which a method is answered past the routers."""
        return {
            route.path: route.handler
            for route in self.routes
            if route.fast and route.method == method and route.handler is not None
        }

    def listing(self) -> dict[str, str]:
        """What `GET /` says of the routes: their method and path, and what they do."""
        found = {}
        for family in self.families:
            if family.prefix is not None and family.prefix_listed is not None:
                found[family.prefix] = family.prefix_listed
            for route in family.routes:
                if route.listed is not None:
                    found[f"{route.method} {route.template}"] = route.listed
        return found
