"""ONNX from TorchScript: the one case for torch's older exporter, because torch.export cannot read it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import onnx

    from pinnace.export.formats.base import Graph


def export_scripted(graph: Graph, path: Path) -> onnx.ModelProto:
    """Export a TorchScript module, its control flow included.

    Args:
        graph: what to export; its module is a `torch.jit.ScriptModule`.
        path: where the file may be written on the way.
    """
    import onnx

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
    return onnx.load(str(path))
