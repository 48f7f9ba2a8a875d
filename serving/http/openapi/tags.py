"""The chapters of the OpenAPI document, in the order in which readers find them."""

from __future__ import annotations

CLASSIFICATION = "Classification"
MODELS = "Models"
OPEN_INFERENCE = "Open Inference Protocol"
OPERATIONS = "Operations"

TAGS = {
    CLASSIFICATION: "Images in, named classes out.",
    MODELS: "What is served.",
    OPEN_INFERENCE: (
        "Tensors or encoded images in, logits out: KServe's version 2, with its own form of errors."
    ),
    OPERATIONS: "Probes, metrics and this description.",
}
