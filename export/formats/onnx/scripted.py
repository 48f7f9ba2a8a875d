"""ONNX by torch's older exporter: for TorchScript, which torch.export cannot read, and for old opsets."""

from __future__ import annotations

import warnings
from pathlib import Path

from pinnace.export.formats.base import Graph
from pinnace.export.formats.onnx.file import save_model


def export_scripted(graph: Graph, path: Path) -> None:
    """Export a network by tracing it; a TorchScript module with its control flow.

    Args:
        graph: what to export.
        path: the file.
    """
    import onnx
    import torch

    dynamic = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in (*graph.signature.inputs, *graph.signature.outputs)
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it is deprecated, and here the only way
        torch.onnx.export(
            graph.module,
            graph.example,
            str(path),
            dynamo=False,
            opset_version=graph.opset,
            input_names=list(graph.signature.input_names),
            output_names=list(graph.signature.output_names),
            dynamic_axes=dynamic,
        )
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    save_model(model, path)
