"""TorchScript: traced and frozen, for those who deploy with libtorch."""

from __future__ import annotations

from pathlib import Path

from pinnace.export.formats.base import Format, Graph
from pinnace.models.errors import CheckFailed


def write(graph: Graph, path: Path) -> None:
    """Trace with the example, freeze, save.

    Tracing records one path through the code; that it is the right one for other inputs is for the parity
    check to say.

    Raises:
        CheckFailed: the network cannot be traced.
    """
    import torch

    try:
        with torch.no_grad():
            traced = torch.jit.trace(graph.module, graph.example, check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
        torch.jit.save(frozen, str(path))
    except (RuntimeError, ValueError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckFailed(
            f"torch.jit.trace cannot trace the network: {first}", hint="leave it out with --format onnx"
        ) from error


FORMAT = Format("torchscript", ".pt", ("fp32",), ("torch",), write)
