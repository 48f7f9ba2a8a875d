"""What is served, as data: `GET /` for programs, and `GET /models`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pinnace.models.bundle.manifest import Variant
from pinnace.models.classifier import Classifier

ROUTES = {
    "GET /": "the page, for a browser; this list, for others",
    "POST /classify": "one image: raw body, multipart field image, or JSON; top_k",
    "POST /classify_batch": "several images: multipart field images, repeated; top_k",
    "GET /models": "the models, with their labels and preprocessing",
    "POST /models/{name}/classify": "the same as POST /classify, by a model's name; also classify_batch",
    "POST /models/{name}/reload": "read the model's bundle again",
    "/v2": "the Open Inference Protocol",
    "GET /docs": "the OpenAPI description, to be read; for programs, GET /docs.json",
    "GET /livez": "the process is up",
    "GET /readyz": "every worker has warmed up",
    "GET /metrics": "Prometheus metrics",
}


def index_body(classifiers: list[Classifier]) -> dict[str, Any]:
    """The body of `GET /` for a program: the first model, the names of all, and the routes."""
    first = classifiers[0]
    return {
        "model": first.bundle.name,
        "variant": first.variant.name,
        "runtime": first.runtime.name,
        "classes": len(first.labels),
        "models": [classifier.bundle.name for classifier in classifiers],
        "routes": ROUTES,
    }


def models_body(classifiers: list[Classifier]) -> dict[str, Any]:
    """The body of `GET /models`; the first model is the one that `POST /classify` asks."""
    return {"models": [model_body(classifier) for classifier in classifiers]}


def model_body(classifier: Classifier) -> dict[str, Any]:
    """One model: what answers, what it expects, and how far each variant lies from the original."""
    manifest = classifier.bundle.manifest
    return {
        "name": classifier.bundle.name,
        "version": classifier.bundle.version,
        "created": manifest.created,
        "variant": classifier.variant.name,
        "runtime": classifier.runtime.name,
        "classes": len(classifier.labels),
        "labels": list(classifier.labels),
        "preprocess": dataclasses.asdict(classifier.preprocess),
        "input": dataclasses.asdict(manifest.signature.inputs[0]),
        "parity": _parity(classifier.variant),
        "variants": [
            {
                "name": variant.name,
                "format": variant.format,
                "precision": variant.precision,
                "bytes": variant.bytes,
                "parity": _parity(variant),
            }
            for variant in manifest.variants
        ],
    }


def _parity(variant: Variant) -> dict[str, Any] | None:
    return None if variant.parity is None else dataclasses.asdict(variant.parity)
