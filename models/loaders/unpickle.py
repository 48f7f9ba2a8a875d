"""Reading checkpoints: pickles without running what is in them, safetensors, and trusted pickles."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import pathlib
import pickle
import re
import struct
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinnace.models.errors import MissingDependency, SourceError
from pinnace.models.install import install_line
from pinnace.models.loaders.foreign import PACKAGES, describe, imports_from, in_one_sentence, missing_packages
from pinnace.models.loaders.state_dict import holds_weights

# What training scripts put beside the weights and what only holds data.
_HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    types.SimpleNamespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    (pathlib.PurePosixPath, "pathlib._local.PosixPath"),
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
# What is called to make data, and has no class of its own.
_MAKE_DATA = frozenset(
    (
        *("collections.defaultdict", "collections.deque", "datetime.datetime"),
        *("datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone"),
    )
)
# dtypes of NumPy by their letter: numbers and text, and no objects.
_NUMBERS = "?bBhHiIlLqQefdgFDSUmM"
_MORE_THAN_DATA = (
    "unsupported global",
    "trying to call",
    "trying to load",
    "can only create",
    "can only build",
)
_FOLDER = 0x10  # the attribute of a member of an archive
_SAFETENSORS_HEAD = struct.calcsize("<Q")
_TORCH_INTERNALS = re.compile(r"^\[enforce fail at [^\]]*\] \. ")
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
        head = file.read(_SAFETENSORS_HEAD + 1)
    if _is_safetensors(path, head):
        return _read_safetensors(path)
    import torch

    try:
        return _read_data(path)
    except pickle.UnpicklingError as error:
        if not any(words in str(error).lower() for words in _MORE_THAN_DATA):
            # torch's own sentence would advise to load it without weights_only.
            raise _damaged(path, "it is not a pickle of tensors") from None
        if not trust and (data := _read_weights_alone(path)) is not None:
            return data
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
    with (
        imports_from(folder),
        in_one_sentence(what, folder),
        _parallel_alone(),
        _paths_of_others(),
        warnings.catch_warnings(),
    ):
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


@contextlib.contextmanager
def _paths_of_others() -> Iterator[None]:
    """Let paths be read that were pickled on Windows, or by Python 3.13 and later."""
    own = pathlib.WindowsPath
    known = "pathlib._local" in sys.modules
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("pathlib._local")
    sys.modules.setdefault("pathlib._local", pathlib)
    pathlib.WindowsPath = pathlib.PureWindowsPath  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        pathlib.WindowsPath = own  # type: ignore[misc]
        if not known:
            sys.modules.pop("pathlib._local", None)


class _Data:
    """Stands for a class that is not imported: what was in the object becomes an `OrderedDict`."""

    def __new__(cls, *arguments: object, **named: object) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


class _Partial:
    """Stands for `functools.partial`, whose state is a tuple and says nothing of the weights."""

    def __new__(cls, *arguments: object, **named: object) -> _Partial:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class _Function:
    """Stands for a function that is not imported: a checkpoint may name it, and not call it."""

    def __call__(self, *arguments: object, **named: object) -> object:
        raise pickle.UnpicklingError("unsupported global: it would be called")


def _stand_ins(path: Path, *, every: bool) -> list[Any]:
    """What is taken instead of the names in a file that are not imported, each with its name.

    Args:
        path: the checkpoint.
        every: take all of them; else only those of trainers' packages, whose objects are data.
    """
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged, or of the format before torch 1.6
        return []
    found: list[Any] = []
    for name in names:
        if name == "functools.partial":
            found.append((_Partial, name))
        elif name.partition(".")[0] in _READ_AS_DATA or name in _MAKE_DATA:
            found.append((_Data, name))
        elif every and not name.startswith("numpy"):
            is_class = name.rpartition(".")[2].lstrip("_")[:1].isupper()
            found.append((_Data if is_class else _Function(), name))
    return found


def _read_data(path: Path, *, every: bool = False) -> Any:
    import numpy as np
    import torch

    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
    numbers: list[Any] = [
        (maker, f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")  # numpy 1 and 2
        for name, maker in makers.items()
    ]
    numbers += [np.ndarray, np.dtype, *(type(np.dtype(code)) for code in _NUMBERS)]
    stand_ins = _stand_ins(path, every=every)
    with torch.serialization.safe_globals([*_HARMLESS, *numbers, *stand_ins]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_mappable(path))


def _read_weights_alone(path: Path) -> Any:
    """A checkpoint whose other objects are taken for data; None where its weights are in such an object."""
    try:
        data = _read_data(path, every=True)
    except Exception:  # it calls what it names, or builds what is not data: the first reading said it
        return None
    return data if holds_weights(data, path) else None


def _is_mappable(path: Path) -> bool:
    """Whether torch can map a file's tensors into memory: not in the format before torch 1.6, nor where an
    archiver has compressed them. It does not look, and takes the compressed bytes for numbers.

    Raises:
        zipfile.BadZipFile: what was compressed is damaged. Where torch cannot unpack a tensor, its numbers
            are those that happened to be in memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if all(member.compress_type == zipfile.ZIP_STORED for member in members):
                for member in members:  # it is where the directory says, under the same name
                    archive.open(member).close()
                return True
            damaged = _first_damaged(archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} in it is damaged")
    return False


def _first_damaged(archive: zipfile.ZipFile) -> str | None:
    """The name of a member that cannot be unpacked, or is not what its checksum says; or that torch takes for
    a folder, and leaves unread.
    """
    for member in archive.infolist():
        if member.external_attr & _FOLDER:
            return member.filename
        try:
            with archive.open(member) as file:
                while file.read(1 << 20):
                    pass
        except Exception:  # whatever zlib, bz2 and lzma stumble over
            return member.filename
    return None


def _is_safetensors(path: Path, head: bytes) -> bool:
    """By its content, because such files are called `.bin` and `.pt`, too; or by its suffix."""
    if len(head) > _SAFETENSORS_HEAD and head[_SAFETENSORS_HEAD : _SAFETENSORS_HEAD + 1] == b"{":
        (length,) = struct.unpack("<Q", head[:_SAFETENSORS_HEAD])
        if length <= path.stat().st_size - _SAFETENSORS_HEAD:
            return True
    return path.suffix == ".safetensors" and not zipfile.is_zipfile(path)


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingDependency(
            "reading safetensors needs the package safetensors, which is not installed",
            hint=install_line("export"),
        ) from None
    try:
        return load_file(path, device="cpu")
    except Exception as error:  # a header that lies raises whatever its reader stumbles over
        reason = str(error) if isinstance(error, SafetensorError) else describe(error)
        raise SourceError(f"{path} cannot be read as safetensors: {reason}") from error


def _damaged(path: Path, reason: str) -> SourceError:
    first, *_ = _TORCH_INTERNALS.sub("", reason.splitlines()[0]).split(". ")
    return SourceError(f"{path} cannot be read as a checkpoint: {first.rstrip('.')}")
