"""TorchScript files: networks that bring their own code, which libtorch runs without Python."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import SourceError
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.facts import Facts
from pinnace.models.loaders.foreign import describe, untrusted
from pinnace.models.loaders.metadata import CONFIG_FILE, read_config

if TYPE_CHECKING:
    import torch

# TorchScript cannot import anything, but these operators read and write files. Their bare names are looked
# for, because the compiler lets a script put `torch` or `ops.image` under another name first.
_TOUCHES_FILES = re.compile(rb"\b(?:save|from_file|read_file|write_file|load_tensor)\b")
# As the compiler itself writes it for the parts of a Sequential. Other forms could put a name together.
_PLAIN_GETATTR = re.compile(rb'\bgetattr\([\w.]+, "[^"\\\n]*"\)')
_GETATTR = re.compile(rb"\bgetattr\b")
_GPU = re.compile(r"cuda(?::\d+)?")
_OPTIMISED = (
    "torch does not read back what torch.jit.optimize_for_inference has changed: save the model without it"
)
_LONGEST_CODE = 64 << 20


def load_script(request: LoadRequest, path: Path) -> LoadedModel:
    """Load a TorchScript file on the CPU.

    Raises:
        UsageError: its code touches files, and is not trusted.
        SourceError: it is damaged.
    """
    if not request.trust and _touches_files(path):
        raise untrusted(f"{path} holds code that reads or writes files")
    module, facts = _read(path)
    moved = _move_to_cpu(module)
    notes = (
        (f"the script named {' and '.join(moved)}; in the bundle it runs where its input is",)
        if moved
        else ()
    )
    return facts.applied_to(LoadedModel(module, notes=notes, exported=True))


def _move_to_cpu(module: torch.nn.Module) -> tuple[str, ...]:
    """Change the GPUs that tracing or scripting wrote into the graphs; returns their names."""
    moved: dict[str, None] = {}
    for part in module.modules():
        script: Any = getattr(part, "_c", None)
        names = [] if script is None else script._method_names()
        for graph in [script._get_method(name).graph for name in names]:
            for node in graph.findAllNodes("prim::Constant", recurse=True):
                text = node.s("value") if node.hasAttribute("value") and node.kindOf("value") == "s" else ""
                if _GPU.fullmatch(text):
                    moved[text] = None
                    node.s_("value", "cpu")
            for node in graph.findAllNodes("aten::cuda", recurse=True):
                moved["cuda"] = None
                node.output().replaceAllUsesWith(node.inputsAt(0))
                node.destroy()
    return tuple(moved)


def _touches_files(path: Path) -> bool:
    """Whether code in the archive names an operator that touches files.

    The archive is read by what `torch.jit.load` reads it with: `zipfile` can be made to see other files in
    it, by a second directory, a checksum that is wrong, or capital letters.
    """
    import torch

    try:
        reader = torch._C.PyTorchFileReader(str(path))
        for name in reader.get_all_records():
            if name.lower().endswith(".py") and (
                reader.get_record_size(name) > _LONGEST_CODE or _is_suspicious(reader.get_record(name))
            ):
                return True
    except RuntimeError as error:
        raise _damaged(path, error) from error
    return False


def _is_suspicious(code: bytes) -> bool:
    if _TOUCHES_FILES.search(code):
        return True
    found = 1
    while found:
        code, found = _PLAIN_GETATTR.subn(b"part", code)  # from the inside outwards
    return _GETATTR.search(code) is not None


def _read(path: Path) -> tuple[torch.nn.Module, Facts]:
    import torch
    import torchvision  # noqa: F401 -- its operators may be among the script's

    extra = {CONFIG_FILE: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated upstream and still what people have
            module: torch.nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location="cpu", _extra_files=extra
            )
    except Exception as error:  # RuntimeError for most, and whatever damaged bytes lead to
        raise _damaged(path, error) from error
    config: Any = extra[CONFIG_FILE]
    return module, read_config(config if isinstance(config, str) else bytes(config).decode(errors="replace"))


def _damaged(path: Path, error: Exception) -> SourceError:
    reason = describe(error).partition(". ")[0]
    return SourceError(
        f"{path} cannot be read as TorchScript: {reason}",
        hint=_OPTIMISED if "required keyword attribute" in reason else None,
    )
