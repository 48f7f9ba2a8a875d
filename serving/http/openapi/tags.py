"""The chapters of the OpenAPI document, in the order in which readers find them."""

from __future__ import annotations

CLASSIFICATION = "Classification"
EMBEDDINGS = "Embeddings"
MODELS = "Models"
OPEN_INFERENCE = "Open Inference Protocol"
OPERATIONS = "Operations"

TAGS = {
    CLASSIFICATION: "Images in, named classes out.",
    EMBEDDINGS: "Images in, vectors out: networks without a head.",
    MODELS: "What is served.",
    OPEN_INFERENCE: (
        "Tensors or encoded images in, the model's output out: KServe's version 2, with its own form of "
        "errors."
    ),
    OPERATIONS: "Probes, metrics and this description.",
}
