"""ONNX, written by the first of torch's exporters that can, with a dynamic batch."""

from __future__ import annotations

from pathlib import Path

from pinnace.export.formats.base import Format, Graph, Written
from pinnace.export.formats.onnx.exporters import DYNAMO, EXPORTERS, MATH_ATTENTION, TORCHSCRIPT
from pinnace.export.formats.onnx.opset import NATIVE, OpsetError
from pinnace.export.precision import fp16, int8
from pinnace.models.errors import CheckFailed
from pinnace.models.loaders.foreign import describe
from pinnace.models.variant_name import VariantName


def write(graph: Graph, path: Path) -> Written:
    """Export, strip what names the machine it was made on, check, save.

    More than 2 GiB of weights go into a file beside it.

    Returns:
        Which exporter wrote the file, and a note where it is not the one that is tried first.

    Raises:
        CheckFailed: no exporter can export the network, or not in this opset.
    """
    import torch

    scripted = isinstance(graph.module, torch.jit.ScriptModule)  # torch.export cannot read it
    exporters = (TORCHSCRIPT,) if scripted else EXPORTERS
    failures: dict[str, Exception] = {}
    for exporter in exporters:
        if exporter is MATH_ATTENTION and isinstance(failures[DYNAMO.name], OpsetError):
            continue  # it gives the same opset, and the same converter would convert it
        if exporter is TORCHSCRIPT and any(map(_decides, failures.values())):
            break  # tracing would freeze a decision that the first exporter has seen to depend on the data
        try:
            graph.tell(exporter.words)
            exporter.write(graph, path)
        except CheckFailed:
            raise
        except Exception as error:  # torch.export and onnxscript raise classes of their own, dozens of them
            failures[exporter.name] = error
            continue
        first = next(iter(failures.values()), None)
        notes = () if first is None else (_note(path, exporter.words, first, graph.opset),)
        return Written(exporter.name, notes)
    raise _refusal(failures, graph.opset) from next(iter(failures.values()))


def _note(path: Path, words: str, first: Exception, opset: int) -> str:
    if isinstance(first, OpsetError):
        why = f"what {DYNAMO.words} gives cannot be converted to opset {opset}: {first}"
    else:
        why = f"{DYNAMO.words} fails: {_reason(first)}"
    return f"{path.stem} was written by {words}, because {why}"


def _refusal(failures: dict[str, Exception], opset: int) -> CheckFailed:
    first, older = next(iter(failures.values())), failures.get(TORCHSCRIPT.name)
    also = "" if older is None or older is first else f"; its older exporter fails as well: {_reason(older)}"
    if isinstance(first, OpsetError):
        return CheckFailed(
            f"the network cannot be written in opset {opset}: {first}{also}",
            expected=f"opset {opset}",
            got=f"opset {NATIVE}",
            hint=f"--opset {NATIVE}, or leave ONNX out with --format torchscript",
        )
    return CheckFailed(
        f"torch.onnx.export cannot export the network: {_reason(first)}{also}",
        hint="leave it out with --format torchscript",
    )


def _decides(error: BaseException) -> bool:
    """Whether torch.export failed because the code decides on the data."""
    return any("data-dependent" in str(cause) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return causes


def _reason(error: BaseException) -> str:
    """The innermost cause that says something, in one line."""
    causes = _causes(error)
    cause = next((cause for cause in reversed(causes) if str(cause).strip()), error)
    return describe(cause)


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that try with torch alone what was tried, one exporter after the other."""
    exporters = EXPORTERS if opset >= NATIVE else (TORCHSCRIPT,)
    parts = ["import traceback\n"]
    for exporter in exporters:
        lines = exporter.snippet.format(file=f"{variant}.onnx", opset=opset).splitlines()
        parts.append(
            f"print({exporter.words!r})\ntry:\n"
            + "".join(f"    {line}\n" for line in lines)
            + "except Exception:\n    traceback.print_exc()\n"
        )
    return "\n".join(parts)


FORMAT = Format(
    "onnx",
    ".onnx",
    ("fp32",),
    ("torch", "onnx", "onnxscript"),
    write,
    snippet,
    conversions={"fp16": fp16.CONVERSION, "int8": int8.INT8, "int8sym": int8.INT8SYM},
)
