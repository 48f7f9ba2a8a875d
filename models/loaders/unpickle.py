"""Reading checkpoints: pickles without running what is in them, safetensors, and trusted pickles."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import pickle
import re
import struct
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinnace.models.errors import MissingDependency, SourceError
from pinnace.models.loaders.foreign import PACKAGES, describe, imports_from, in_one_sentence, missing_packages

# What training scripts put beside the weights and what only holds data.
_HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    types.SimpleNamespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
)
# Packages whose objects stand beside the weights in checkpoints of their trainers. They are read as plain
# data: nothing of these packages is imported or run.
_READ_AS_DATA = frozenset(
    (
        *("addict", "easydict", "fastcore", "lightning", "lightning_fabric", "lightning_utilities"),
        *("ml_collections", "mmcv", "mmengine", "munch", "omegaconf", "pytorch_lightning", "torchmetrics"),
        "yacs",
    )
)
_SAFETENSORS_HEAD = struct.calcsize("<Q")
_TORCH_INTERNALS = re.compile(r"^\[enforce fail at [^\]]*\] \. ")
_LFS = b"version https://git-lfs"
_GLOBAL = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL ([\w.]+)")


def read(path: Path, *, trust: bool = False, folder: Path | None = None) -> Any:
    """What a checkpoint holds, its tensors on the CPU.

    Args:
        path: a file of `torch.save`, old or new, or of safetensors.
        trust: whether a pickle that is more than data may run its code.
        folder: where the classes of a trusted pickle are imported from.

    Raises:
        SourceError: the file is damaged, or would run code.
    """
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if head == _LFS:
        raise SourceError(f"{path} is a Git LFS pointer, not the file itself", hint="git lfs pull")
    if _is_safetensors(path, head):
        return _read_safetensors(path)
    import torch

    try:
        return _read_data(path)
    except pickle.UnpicklingError as error:
        if "unsupported global" not in str(error).lower():
            # torch's own sentence would advise to load it without weights_only.
            raise _damaged(path, "it is not a pickle of tensors") from None
        if not trust:
            named = _GLOBAL.search(str(error))
            holds = f"more than tensors ({named[1]})" if named else "more than tensors"
            raise SourceError(
                f"{path} holds {holds}, and loading it could run code, so nothing was loaded",
                expected="a state_dict of tensors",
                hint="save it again with torch.save(model.state_dict(), PATH); "
                "or, if you trust its author, add --trust",
            ) from None
    except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
        reason = str(error).strip() or type(error).__name__
        if "weights_only" in reason:
            # tarfile takes zeros for an archive without members.
            tar = "it is a tar archive, as torch wrote before version 0.4"
            reason = tar if any(head) else "it is not a pickle of tensors"
        raise _damaged(path, reason) from None
    folder = folder or Path.cwd()
    what = f"unpickling {path}"
    with imports_from(folder), in_one_sentence(what, folder), _parallel_alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=False)
        except AttributeError as error:
            if "__main__" in str(error):
                raise SourceError(
                    f"unpickling {path} fails: it was saved by a script that defined the network itself",
                    hint="move the class into a module of its own and save again, "
                    "or save model.state_dict() and use --arch",
                ) from error
            raise
        except ModuleNotFoundError as error:
            if (package := (error.name or "").partition(".")[0]) in PACKAGES:
                raise missing_packages(what, [package]) from error
            raise SourceError(
                f"unpickling {path} needs the module {error.name}, which is not found from {folder}",
                hint="run the command in the folder from which the code that saved it imports its own",
            ) from error


@contextlib.contextmanager
def _parallel_alone() -> Iterator[None]:
    """Let a network saved within DistributedDataParallel be read where there are no other processes."""
    import torch

    parallel: Any = torch.nn.parallel.DistributedDataParallel
    own = parallel.__setstate__
    parallel.__setstate__ = torch.nn.Module.__setstate__
    try:
        yield
    finally:
        parallel.__setstate__ = own


class _Data:
    """Stands for a class that is not imported: what was in the object becomes an `OrderedDict`."""

    def __new__(cls, *arguments: object, **named: object) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


def _read_as_data(path: Path) -> list[Any]:
    """The names in a file that only hold data of a trainer's package, each with what it is read as."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged, or of the format before torch 1.6
        return []
    return [(_Data, name) for name in names if name.partition(".")[0] in _READ_AS_DATA]


def _read_data(path: Path) -> Any:
    import numpy as np
    import torch

    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
    numbers: list[Any] = [
        (maker, f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")  # numpy 1 and 2
        for name, maker in makers.items()
    ]
    numbers += _read_as_data(path)
    names = ("float16", "float32", "float64", "int32", "int64", "uint8", "bool")
    numbers += [np.ndarray, np.dtype, *(type(np.dtype(name)) for name in names)]
    with torch.serialization.safe_globals([*_HARMLESS, *numbers]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_mappable(path))


def _is_mappable(path: Path) -> bool:
    """Whether torch can map a file's tensors into memory: not in the format before torch 1.6, nor where an
    archiver has compressed them. It does not look, and takes the compressed bytes for numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _is_safetensors(path: Path, head: bytes) -> bool:
    """By its content, because such files are called `.bin` and `.pt`, too; or by its suffix."""
    if len(head) > _SAFETENSORS_HEAD and head[_SAFETENSORS_HEAD : _SAFETENSORS_HEAD + 1] == b"{":
        (length,) = struct.unpack("<Q", head[:_SAFETENSORS_HEAD])
        if length <= path.stat().st_size - _SAFETENSORS_HEAD:
            return True
    return path.suffix == ".safetensors"


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingDependency(
            "reading safetensors needs the package safetensors, which is not installed",
            hint="pip install 'pinnace[export]'",
        ) from None
    try:
        return load_file(path, device="cpu")
    except Exception as error:  # a header that lies raises whatever its reader stumbles over
        reason = str(error) if isinstance(error, SafetensorError) else describe(error)
        raise SourceError(f"{path} cannot be read as safetensors: {reason}") from error


def _damaged(path: Path, reason: str) -> SourceError:
    first, *_ = _TORCH_INTERNALS.sub("", reason.splitlines()[0]).split(". ")
    return SourceError(f"{path} cannot be read as a checkpoint: {first.rstrip('.')}")
