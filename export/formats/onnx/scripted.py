"""ONNX from TorchScript: the one case for torch's older exporter, because torch.export cannot read it."""

from __future__ import annotations

import warnings
from pathlib import Path

from pinnace.export.formats.base import Graph
from pinnace.export.formats.onnx.file import strip


def export_scripted(graph: Graph, path: Path) -> None:
    """Export a TorchScript module, its control flow included.

    Args:
        graph: what to export; its module is a `torch.jit.ScriptModule`.
        path: the file.
    """
    import onnx
    import torch

    dynamic = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in (*graph.signature.inputs, *graph.signature.outputs)
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it is deprecated, and here the only one that works
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
    strip(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
