"""TorchScript files: networks that bring their own code, which libtorch runs without Python."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.models.errors import SourceError
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.foreign import describe, untrusted

if TYPE_CHECKING:
    import torch

# TorchScript cannot import anything, but these operators read and write files.
_TOUCHES_FILES = re.compile(rb"\b(?:torch|aten|ops\.\w+)\s*\.\s*(?:save|from_file)\s*\(")
_LONGEST_CODE = 64 << 20


def load_script(request: LoadRequest, path: Path) -> LoadedModel:
    """Load a TorchScript file on the CPU.

    Raises:
        UsageError: its code touches files, and is not trusted.
        SourceError: it is damaged.
    """
    if not request.trust and _touches_files(path):
        raise untrusted(f"{path} holds code that reads or writes files")
    return LoadedModel(_read(path), exported=True)


def _touches_files(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            code = [e for e in archive.infolist() if "/code/" in e.filename and e.filename.endswith(".py")]
            return any(e.file_size > _LONGEST_CODE or _TOUCHES_FILES.search(archive.read(e)) for e in code)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return False  # libtorch will not read it either


def _read(path: Path) -> torch.nn.Module:
    import torch
    import torchvision  # noqa: F401 -- its operators may be among the script's

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated upstream and still what people have
            module: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError for most, and whatever damaged bytes lead to
        reason = describe(error).partition(". ")[0]
        raise SourceError(f"{path} cannot be read as TorchScript: {reason}") from error
    return module
