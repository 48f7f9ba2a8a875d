"""The ways in which torch writes ONNX, in the order in which they are tried."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pinnace.export.formats.base import Graph, dynamic_shapes
from pinnace.export.formats.onnx.file import require_room, save, save_model
from pinnace.export.formats.onnx.opset import NATIVE, with_opset
from pinnace.models.errors import CheckFailed

if TYPE_CHECKING:
    import torch

# What torch.onnx.export puts before the lines in which it says what it does.
_TOLD = "[torch.onnx] "


@dataclass(frozen=True)
class Exporter:
    """One way to ONNX.

    Attributes:
        name: what the manifest calls it.
        words: what messages call it.
        write: writes a file; raises whatever torch does, and `OpsetError` where the opset cannot be had.
        snippet: the same in lines for a script, which has `torch`, `model` and `examples`; formatted with
            `file` and `opset`.
    """

    name: str
    words: str
    write: Callable[[Graph, Path], None]
    snippet: str


def write_dynamo(graph: Graph, path: Path) -> None:
    """Export with `torch.export`, with attention as one operator."""
    shapes = (dynamic_shapes(graph.signature),)
    _save(_torch_onnx(graph, graph.module, graph.example, dynamic_shapes=shapes), graph, path)


def write_math_attention(graph: Graph, path: Path) -> None:
    """Export with `torch.export`, with attention as the products and the softmax that it is made of.

    ONNX's translation of `scaled_dot_product_attention` takes four dimensions only; products take any.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    graph.tell("torch.export")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        program = torch.export.export(
            graph.module, graph.example, dynamic_shapes={"inputs": dynamic_shapes(graph.signature)}
        ).run_decompositions()
        exported = _torch_onnx(graph, program, ())
    _save(exported, graph, path)


def write_torchscript(graph: Graph, path: Path) -> None:
    """Export by tracing; a TorchScript module with its control flow."""
    import onnx
    import torch

    dynamic = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in (*graph.signature.inputs, *graph.signature.outputs)
    }
    require_room(sum(getattr(value, "nbytes", 0) for value in graph.module.state_dict().values()))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
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


def _torch_onnx(graph: Graph, model: Any, example: tuple[torch.Tensor, ...], **shapes: Any) -> Any:
    import torch

    with torch.no_grad(), _told(graph.tell):
        program = torch.onnx.export(
            model,
            example,
            dynamo=True,
            opset_version=max(graph.opset, NATIVE),
            input_names=list(graph.signature.input_names),
            output_names=list(graph.signature.output_names),
            verbose=True,
            **shapes,
        )
    if program is None:
        raise CheckFailed("torch.onnx.export gave no program")
    return program


def _save(program: Any, graph: Graph, path: Path) -> None:
    graph.tell("saving")
    if program.model.opset_imports.get("") == graph.opset:
        save(program, path)
    else:
        save_model(with_opset(program.model_proto, graph.opset), path)


@contextlib.contextmanager
def _told(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass on what torch.onnx.export prints of its steps; what others print is printed."""
    with contextlib.redirect_stdout(_Steps(tell, sys.stdout)):
        yield


class _Steps(io.TextIOBase):
    """A stream that tells the steps of torch.onnx.export and passes on every other line."""

    def __init__(self, tell: Callable[[str], None], printed: TextIO) -> None:
        self._tell, self._printed, self._line = tell, printed, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if not line.startswith(_TOLD):
                self._printed.write(line + "\n")
            elif line.endswith("..."):
                step = line.removeprefix(_TOLD).removesuffix("...")
                self._tell(step.rpartition(" with ")[2].replace("`", ""))
        return len(text)

    def flush(self) -> None:
        self._printed.flush()

    def close(self) -> None:
        """Leave the stream that is printed to open."""


DYNAMO = Exporter(
    "dynamo",
    "torch.onnx.export(dynamo=True)",
    write_dynamo,
    """\
program = torch.onnx.export(
    model,
    examples,
    dynamo=True,
    opset_version={opset},
    input_names=["input"],
    dynamic_shapes=({{0: torch.export.Dim("batch", min=1)}},) * len(examples),
)
program.save("{file}")
""",
)
MATH_ATTENTION = Exporter(
    "dynamo-math-attention",
    "torch.export with attention as plain products (SDPBackend.MATH), given to torch.onnx.export",
    write_math_attention,
    """\
with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
    exported = torch.export.export(
        model, examples, dynamic_shapes=({{0: torch.export.Dim("batch", min=1)}},) * len(examples)
    ).run_decompositions()
    program = torch.onnx.export(exported, dynamo=True, opset_version={opset}, input_names=["input"])
program.save("{file}")
""",
)
TORCHSCRIPT = Exporter(
    "torchscript",
    "torch's TorchScript-based exporter (dynamo=False)",
    write_torchscript,
    """\
torch.onnx.export(
    model,
    examples,
    "{file}",
    dynamo=False,
    opset_version={opset},
    input_names=["input"],
    dynamic_axes={{"input": {{0: "batch"}}}},
)
""",
)

EXPORTERS = (DYNAMO, MATH_ATTENTION, TORCHSCRIPT)
