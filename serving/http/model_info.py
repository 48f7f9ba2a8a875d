"""What is served, as data: `GET /` for programs, and `GET /models`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.classifier import Classifier
from pinnace.serving.http.bodies import IndexBody, InputBody, ModelBody, ModelsBody


def index_body(classifiers: list[Classifier], routes: dict[str, str]) -> IndexBody:
    """The body of `GET /` for a program: the first model, the names of all, and the routes."""
    first = classifiers[0]
    return {
        "model": first.bundle.name,
        "variant": first.variant.name,
        "runtime": first.runtime.name,
        "classes": len(first.labels),
        "models": [classifier.bundle.name for classifier in classifiers],
        "routes": routes,
    }


def models_body(classifiers: list[Classifier]) -> ModelsBody:
    """The body of `GET /models`; the first model is the one that `POST /classify` asks."""
    return {"models": [model_body(classifier) for classifier in classifiers]}


def model_body(classifier: Classifier) -> ModelBody:
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
        "input": _input(manifest.signature.inputs[0]),
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


def _input(spec: TensorSpec) -> InputBody:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _parity(variant: Variant) -> dict[str, Any] | None:
    return None if variant.parity is None else dataclasses.asdict(variant.parity)
