"""The whole OpenAPI document."""

from __future__ import annotations

import json
from importlib.metadata import version

from pydantic import BaseModel

from pinnace.serving.http.openapi.examples import example_components
from pinnace.serving.http.openapi.responses import RESPONSES
from pinnace.serving.http.openapi.schemas import component_schemas
from pinnace.serving.http.openapi.tags import TAGS
from pinnace.serving.inference.registry import Registry
from pinnace.serving.routes import Json, RouteTable, ServerFacts
from pinnace.serving.settings import ServerSettings

_KEYS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class Document(dict[str, object]):
    """The document, in the form in which BentoML asks for it."""

    def asdict(self) -> Json:
        """The document as JSON data."""
        return dict(self)


class ServedDocument:
    """The document of a server as JSON, made once for all that it depends on."""

    def __init__(self, routes: RouteTable, settings: ServerSettings) -> None:
        """Describe `routes`, with the limits of the settings."""
        self._routes = routes
        self._settings = settings
        self._made: tuple[ServerFacts, bytes] | None = None

    def json(self, registry: Registry | None) -> bytes:
        """The document; it is made anew after a reload that has changed a model."""
        facts = _facts(self._settings, registry)
        if self._made is None or self._made[0] != facts:
            document = describe(self._routes, self._settings, registry)
            self._made = facts, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return self._made[1]


def describe(routes: RouteTable, settings: ServerSettings, registry: Registry | None) -> Document:
    """The description of a server.

    Args:
        routes: what is served.
        settings: limits, and whether an API key is set.
        registry: the models, once they are loaded.
    """
    facts = _facts(settings, registry)
    names = facts.names or tuple(folder.stem for folder in settings.folders)
    paths: Json = {}
    bodies: dict[type, None] = {}
    for route in routes.routes:
        operation = None if route.operation is None else route.operation(facts)
        if operation is not None:
            paths.setdefault(route.template, {})[route.method.lower()] = operation
            bodies |= dict.fromkeys(route.bodies)
    # What is received is checked by a model of pydantic's; what is sent is data with a type.
    requests = [body for body in bodies if issubclass(body, BaseModel)]
    answers = [body for body in bodies if body not in requests]
    document: Json = {
        "openapi": "3.0.2",
        "info": {
            "title": f"Pinnace: {', '.join(names)}",
            "version": version("pinnace"),
            "description": _description(facts),
        },
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": component_schemas(answers, requests),
            "responses": RESPONSES,
            "examples": example_components(),
        },
    }
    if settings.accepted_keys():
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
    return Document(document)


def _description(facts: ServerFacts) -> str:
    """What the service is, in a sentence; then how to try it, and the form of errors."""
    done = [
        f"{verb} with {_and(names)}"
        for verb, names in (
            ("classifies them", facts.classifiers),
            ("makes vectors of them", facts.embedders),
        )
        if names
    ]
    service = f"This server takes images and {_and(tuple(done)) or 'answers with what a model says of them'}"
    return (
        f"{service}, and says where the time went. The requests below are filled in: *Try it out*, then "
        '*Execute*, sends one.\n\nEvery error is `{"error": {"code", "message", "hint"}}`, but for '
        "those of `/v2` and `/v1`, which have the form of their protocols."
    )


def _and(words: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _facts(settings: ServerSettings, registry: Registry | None) -> ServerFacts:
    models = [] if registry is None else registry.answering
    classes = [one.outputs.classes or 1 for one in models]
    most = [count if settings.max_top_k is None else min(count, settings.max_top_k) for count in classes]
    return ServerFacts(
        names=tuple(one.bundle.name for one in models),
        versions=tuple(one.bundle.version for one in models),
        default_top_k=most[0] if most else settings.max_top_k,
        any_top_k=max(most) if most else settings.max_top_k,
        max_batch_images=settings.max_batch_images,
        classifiers=tuple(one.bundle.name for one in models if one.outputs.is_classifier),
        embedders=tuple(one.bundle.name for one in models if not one.outputs.is_classifier),
        several_labels=tuple(one.bundle.name for one in models if one.outputs.several_labels),
        explains=settings.explain,
    )
