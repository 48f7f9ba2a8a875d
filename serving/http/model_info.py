"""What is served, as data: `GET /` for programs, and `GET /models`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.classifier import Classifier
from pinnace.models.open_model import AnsweringModel
from pinnace.serving.http.bodies import IndexBody, InputBody, ModelBody, ModelsBody, OutputsBody
from pinnace.serving.settings import ServerSettings


def index_body(models: list[AnsweringModel], routes: dict[str, str], settings: ServerSettings) -> IndexBody:
    """The body of `GET /` for a program: the first model, the names of all, limits, and the routes."""
    first = models[0]
    return {
        "model": first.bundle.name,
        "variant": first.variant.name,
        "runtime": first.runtime.name,
        "classes": len(_labels(first)),
        "models": [model.bundle.name for model in models],
        "explain": settings.explain,
        "limits": {
            "max_body_bytes": settings.max_body_bytes,
            "max_pixels": settings.max_pixels,
            "max_top_k": settings.max_top_k,
        },
        "routes": routes,
    }


def models_body(models: list[AnsweringModel]) -> ModelsBody:
    """The body of `GET /models`; the first model is the one that `POST /classify` asks."""
    return {"models": [model_body(model) for model in models]}


def model_body(model: AnsweringModel) -> ModelBody:
    """One model: what answers, what it expects, and how far each variant lies from the original."""
    manifest = model.bundle.manifest
    return {
        "name": model.bundle.name,
        "version": model.bundle.version,
        "created": manifest.created,
        "variant": model.variant.name,
        "runtime": model.runtime.name,
        "classes": len(_labels(model)),
        "labels": _labels(model),
        "preprocess": dataclasses.asdict(model.preprocess),
        "input": _input(manifest.signature.inputs[0]),
        "outputs": _outputs(model.outputs),
        "parity": _parity(model.variant),
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


def _labels(model: AnsweringModel) -> list[str]:
    return list(model.labels) if isinstance(model, Classifier) else []


def _outputs(outputs: Outputs) -> OutputsBody:
    return {
        "meaning": outputs.meaning,
        "name": outputs.name,
        "function": outputs.function,
        "classes": outputs.classes,
        "normalised": outputs.normalised,
        "threshold": outputs.threshold,
        "evidence": outputs.evidence,
    }


def _input(spec: TensorSpec) -> InputBody:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _parity(variant: Variant) -> dict[str, Any] | None:
    return None if variant.parity is None else dataclasses.asdict(variant.parity)
