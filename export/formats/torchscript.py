"""TorchScript: traced and frozen, for those who deploy with libtorch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.export.formats.base import Format, Graph
from pinnace.models.errors import CheckFailed, MissingDependency, error_lines
from pinnace.models.variant_name import VariantName

if TYPE_CHECKING:
    import torch


def write(graph: Graph, path: Path) -> None:
    """Trace with the example, freeze, save.

    Tracing records one path through the code; that it is the right one for other inputs is for the parity
    check to say.

    In fp16 it is traced on a GPU; inputs and outputs stay float32.

    Raises:
        CheckFailed: the network cannot be traced.
        MissingDependency: it is to be fp16, and there is no GPU.
    """
    import torch

    module, example = graph.module, graph.example
    if graph.precision == "fp16":
        if not torch.cuda.is_available():
            raise MissingDependency(
                "torchscript-fp16 is traced and run on a GPU, and this torch sees no CUDA device",
                hint="leave it out with --format onnx",
            )
        module, example = _half(module), tuple(tensor.cuda() for tensor in example)
    try:
        with torch.no_grad():
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
        torch.jit.save(frozen, str(path))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckFailed(
            f"torch.jit.trace cannot trace the network: {error_lines(error)[0]}",
            hint="leave it out with --format onnx",
        ) from error


def _half(module: torch.nn.Module) -> torch.nn.Module:
    import torch

    class Half(torch.nn.Module):
        """Casts float32 inputs to float16 and the outputs back."""

        def __init__(self) -> None:
            super().__init__()
            self.module = copy.deepcopy(module).half().cuda()

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            result = self.module(*(tensor.half() for tensor in inputs))
            return result.float() if isinstance(result, torch.Tensor) else tuple(r.float() for r in result)

    return Half().eval()


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that write the file with torch alone."""
    return f"""\
traced = torch.jit.freeze(torch.jit.trace(model, examples, check_trace=False))
torch.jit.save(traced, "{variant}.pt")
"""


FORMAT = Format("torchscript", ".pt", ("fp32", "fp16"), ("torch",), write, snippet, devices={"fp16": "cuda"})
