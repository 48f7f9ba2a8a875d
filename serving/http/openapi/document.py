"""The whole OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version

from pinnace.serving.http.openapi.paths import CLASSIFY, MODELS, OPERATIONS, Facts, paths
from pinnace.serving.http.openapi.responses import RESPONSES
from pinnace.serving.http.openapi.schemas import SCHEMAS, Json
from pinnace.serving.http.v2.openapi import TENSOR_SCHEMAS, TENSORS, tensor_paths
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import ServerSettings

_TAGS = {
    CLASSIFY: "Images in, named classes out.",
    MODELS: "What is served.",
    TENSORS: "Tensors or encoded images in, logits out: KServe's version 2, with its own form of errors.",
    OPERATIONS: "Probes, metrics and this description.",
}
_KEYS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class Document(dict[str, object]):
    """The document, in the form in which BentoML asks for it."""

    def asdict(self) -> Json:
        """The document as JSON data."""
        return dict(self)


def describe(settings: ServerSettings, registry: Registry | None) -> Document:
    """The description of a server.

    Args:
        settings: limits, and whether an API key is set.
        registry: the models, once they are loaded.
    """
    facts = _facts(settings, registry)
    names = facts.names or tuple(folder.stem for folder in settings.bundle)
    classifiers = [] if registry is None else registry.classifiers
    versions = tuple(one.bundle.version for one in classifiers)
    document: Json = {
        "openapi": "3.0.2",
        "info": {
            "title": f"Pinnace: {', '.join(names)}",
            "version": version("pinnace"),
            "description": 'Errors, but those of `/v2`: `{"error": {"code", "message", "hint"}}`.',
        },
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": told} for name, told in _TAGS.items()],
        "paths": {**paths(facts), **tensor_paths(facts.names, versions)},
        "components": {"schemas": {**SCHEMAS, **TENSOR_SCHEMAS}, "responses": RESPONSES},
    }
    if facts.locked:
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
    return Document(document)


def _facts(settings: ServerSettings, registry: Registry | None) -> Facts:
    classifiers = [] if registry is None else registry.classifiers
    classes = [len(one.labels) for one in classifiers]
    most = [count if settings.max_top_k is None else min(count, settings.max_top_k) for count in classes]
    return Facts(
        names=tuple(one.bundle.name for one in classifiers),
        default_top_k=most[0] if most else settings.max_top_k,
        any_top_k=max(most) if most else settings.max_top_k,
        batch=settings.max_batch_images,
        locked=settings.api_key is not None,
    )
