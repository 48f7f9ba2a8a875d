"""`.pt2` files of `torch.export.save`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.errors import SourceError
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.foreign import describe, untrusted

if TYPE_CHECKING:
    import torch


def load_program(request: LoadRequest, path: Path) -> LoadedModel:
    """Load a program of torch.export.

    Its reader evaluates expressions, unpickles objects and calls functions by the names in the file, so that
    a file can run any code: torch says so itself (`torch.export.load`).

    Raises:
        UsageError: it is not trusted.
        SourceError: it is damaged, or of another kind.
    """
    if not request.trust:
        raise untrusted(f"{path} is a program of torch.export, which can run code when it is read")
    import torch
    import torchvision  # noqa: F401 -- its operators may be among the program's

    if _is_compiled(path):
        raise SourceError(
            f"{path} is compiled for one kind of machine (AOTInductor), and holds no network",
            hint="write it with torch.export.save",
        )
    try:
        program = torch.export.load(path)
        program, moved = _moved_to_cpu(program)
        module = program.module()
    except Exception as error:  # damaged files raise whatever their reader stumbles over
        raise SourceError(f"{path} cannot be read as a program of torch.export: {describe(error)}") from error
    # They refuse to be called, and so would those of every module around this one.
    for name in ("train", "eval"):
        vars(module).pop(name, None)
    notes = (f"the program named {' and '.join(moved)}; in the bundle it runs on the CPU",) if moved else ()
    return LoadedModel(module, notes=notes, inputs=_inputs(program), exported=True)


def _moved_to_cpu(program: torch.export.ExportedProgram) -> tuple[torch.export.ExportedProgram, list[str]]:
    """The program without the GPUs that were written into it, and their names."""
    from torch.export.passes import move_to_device_pass

    devices = {str(node.kwargs["device"]) for node in program.graph.nodes if node.kwargs.get("device")}
    devices |= {str(value.device) for value in program.state_dict.values()}
    others = sorted(devices - {"cpu"})
    return (move_to_device_pass(program, "cpu") if others else program), others


def _is_compiled(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return any("aotinductor" in name for name in names) and not any("/models/" in name for name in names)


def _inputs(program: torch.export.ExportedProgram) -> tuple[TensorSpec, ...]:
    """Its inputs; a dynamic first dimension that all share is called `batch`, any other by its symbol."""
    names = set(program.graph_signature.user_inputs)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.name in names}
    firsts = {str(value.shape[0]) for value in values.values() if getattr(value, "ndim", 0)}
    return tuple(_spec(name, value, batch=len(firsts) == 1) for name, value in values.items())


def _spec(name: str, value: Any, *, batch: bool) -> TensorSpec:
    import torch

    if not isinstance(value, torch.Tensor):
        raise SourceError(f"the program's input {name} is not a tensor", got=type(value).__name__)
    sizes: list[Any] = list(value.shape)  # a dynamic one is a SymInt
    dims: tuple[int | str, ...] = tuple(dim if isinstance(dim, int) else str(dim) for dim in sizes)
    if batch and dims and isinstance(dims[0], str):
        dims = (BATCH, *dims[1:])
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), dims)
