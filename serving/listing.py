"""What is served, as data: `GET /` for programs, and `GET /models`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pinnace.models.classifier import Classifier

ROUTES = {
    "GET /": "the page, for a browser; this list, for others",
    "POST /classify": "one image: raw body, multipart field image, or JSON; top_k",
    "POST /classify_batch": "several images: multipart field images, repeated; top_k",
    "GET /models": "the models, with their labels and preprocessing",
    "POST /models/{name}/classify": "the same as POST /classify, by a model's name",
    "GET /docs.json": "OpenAPI description",
    "GET /livez": "the process is up",
    "GET /readyz": "every worker has warmed up",
    "GET /metrics": "Prometheus metrics",
}


def index_body(classifier: Classifier) -> dict[str, Any]:
    """The body of `GET /` for a program."""
    return {
        "model": classifier.bundle.name,
        "variant": classifier.variant.name,
        "runtime": classifier.runtime.name,
        "classes": len(classifier.labels),
        "routes": ROUTES,
    }


def models_body(classifiers: list[Classifier]) -> dict[str, Any]:
    """The body of `GET /models`; the first model is the one that `POST /classify` asks."""
    return {"models": [model_body(classifier) for classifier in classifiers]}


def model_body(classifier: Classifier) -> dict[str, Any]:
    """One model: what answers, what it expects, and how far it lies from the original."""
    parity = classifier.variant.parity
    return {
        "name": classifier.bundle.name,
        "variant": classifier.variant.name,
        "runtime": classifier.runtime.name,
        "classes": len(classifier.labels),
        "labels": list(classifier.labels),
        "preprocess": dataclasses.asdict(classifier.preprocess),
        "input": dataclasses.asdict(classifier.bundle.manifest.signature.inputs[0]),
        "parity": None if parity is None else dataclasses.asdict(parity),
    }
