"""What a file is, by its content, and what to do with those that no loader reads."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from pathlib import Path

from pinnace.models.errors import PinnaceError, SourceError

ONNX, TORCHSCRIPT, PROGRAM, CHECKPOINT = "onnx", "torchscript", "program", "checkpoint"

_HEAD = 1024
# The number that every file of `torch.save` from before version 1.6 begins with.
_OLD_TORCH = b"l\xfc\x9cF\xf9 j\xa8P\x19"
_LEAST_IR, _LATEST_IR = 3, 20
_WEIGHTS = (".pt", ".pth", ".onnx", ".safetensors", ".ckpt", ".bin", ".pkl", ".h5", ".pt2", ".tar")
_SHOWN = 3

_AGAIN = "copy or download it again, and compare its size with that of the original"
_TO_ONNX = "where it was made, write it as ONNX, and export that file: "
_KERAS = 'in Keras, keras.models.load_model("PATH").export("model.onnx", format="onnx")'
_SAVED_MODEL = "pip install tf2onnx; python -m tf2onnx.convert --saved-model FOLDER --output model.onnx"
_FROM_ONNX = "export the ONNX file or the checkpoint that it was made from"
_STATE = (
    'load it where it was written, save the weights with torch.save(model.state_dict(), "weights.pt"), and '
    "export that file"
)
_PADDLE = (
    "pip install paddle2onnx; paddle2onnx --model_dir FOLDER --model_filename inference.pdmodel "
    "--params_filename inference.pdiparams --save_file model.onnx"
)

# By suffix, for formats whose content does not say what they are.
_SUFFIXES = {
    **dict.fromkeys((".engine", ".plan", ".trt"), ("an engine of TensorRT, for one kind of GPU", _FROM_ONNX)),
    **dict.fromkeys((".pdparams", ".pdmodel", ".pdiparams"), ("PaddlePaddle's", f"{_TO_ONNX}{_PADDLE}")),
    ".mlmodel": ("Core ML's", _FROM_ONNX),
    ".pb": ("TensorFlow's", f"{_TO_ONNX}{_SAVED_MODEL}"),
    ".caffemodel": ("Caffe's", "make an ONNX file of it with a converter, and export that"),
    ".params": ("MXNet's", f"{_TO_ONNX}mxnet.onnx.export_model"),
    ".weights": ("Darknet's", "pinnace export darknet:yolov3@PATH, or another of its networks"),
}
_NUMPY = ("arrays of NumPy", _STATE)


def kind_of(path: Path) -> str:
    """`onnx`, `torchscript`, `program` or `checkpoint`, by the file's content, or else by its suffix."""
    names = _archived(path)
    if names is None:
        head = head_of(path)
        if _is_onnx(head, path.suffix) or (path.suffix.lower() == ".onnx" and not _is_safetensors(head)):
            return ONNX
        return PROGRAM if path.suffix.lower() == ".pt2" else CHECKPOINT
    inner = [name.partition("/")[2] or name for name in names]
    if "archive_format" in inner or "serialized_exported_program.json" in inner or path.suffix == ".pt2":
        return PROGRAM
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return TORCHSCRIPT
    return CHECKPOINT


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(_HEAD)


def _archived(path: Path) -> list[str] | None:
    """The names in a zip archive; None where the file is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        return None


def _is_onnx(head: bytes, suffix: str) -> bool:
    """Whether it begins as `ModelProto` does: with the version of the IR."""
    begins = len(head) > 2 and head[0] == 8 and _LEAST_IR <= head[1] <= _LATEST_IR
    return begins and suffix.lower() != ".mlmodel"


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and head[6:8] == b"\0\0"


def why_not_a_model(path: Path) -> PinnaceError | None:
    """What a file is that no loader reads, and what to do with it; None where it may be a model."""
    head = head_of(path)
    if head.startswith(b"version https://git-lfs"):
        return SourceError(f"{path} is a Git LFS pointer, not the file itself", hint="git lfs pull")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<?xml") and b"<net" in text:
        return _of_another(path, "OpenVINO's", _FROM_ONNX)
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return SourceError(
            f"{path} is a web page and not a model: what was saved is an answer of the site that it was "
            "downloaded from",
            hint="open it in a browser (often it says that one has to sign in), and download again",
        )
    if text.startswith((b"{", b"[")) and not _is_safetensors(head):
        return SourceError(f"{path} is text and not a model; it begins with {_beginning(head)}")
    return _compressed(path, head) or _known(path, head)


def _known(path: Path, head: bytes) -> PinnaceError | None:
    if head[4:8] == b"TFL3":
        command = f"pip install tf2onnx; python -m tf2onnx.convert --tflite {path.name} --output model.onnx"
        return _of_another(path, "TensorFlow Lite's", f"make an ONNX file of it, and export that: {command}")
    if head[4:8] == b"ORTM":
        return _of_another(path, "ONNX Runtime's own (.ort)", _FROM_ONNX)
    if head.startswith(b"ftrt"):
        return _of_another(path, *_SUFFIXES[".engine"])
    if head.startswith(b"\x89HDF"):
        return _of_another(path, "HDF5, as Keras writes it", f"{_TO_ONNX}{_KERAS}")
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8")):
        return SourceError(
            f"{path} is an image and not a model", hint=f"pinnace classify {path.name} asks a model about it"
        )
    if head.startswith(b"\x93NUMPY"):
        return _of_another(path, *_NUMPY)
    names = _archived(path)
    if names is None and head.startswith(b"PK\x03\x04"):
        return SourceError(
            f"{path} is cut short: its end is missing ({path.stat().st_size} bytes are there)", hint=_AGAIN
        )
    if names is not None and not any(
        name.rpartition("/")[2] in ("data.pkl", "archive_format") for name in names
    ):
        return _zipped(path, names)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and _OLD_TORCH not in head[:32]:
        if path.suffix in _SUFFIXES:
            return _of_another(path, *_SUFFIXES[path.suffix])
        return SourceError(f"{path} is a pickle of Python's, and not of torch.save", hint=_STATE)
    suffix = path.suffix.lower()
    return (
        _of_another(path, *_SUFFIXES[suffix]) if suffix in _SUFFIXES and not _is_onnx(head, suffix) else None
    )


def _compressed(path: Path, head: bytes) -> PinnaceError | None:
    """An archive, or a file within one."""
    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as file:
                inner = file.read(_HEAD)
        except (OSError, EOFError):
            return SourceError(f"{path} is compressed with gzip, and damaged", hint=_AGAIN)
        if inner[257:262] == b"ustar":
            return _packed(path, "a compressed tar archive", f"tar xzf {path.name}", _tar_names(path))
        plain = path.name.removesuffix(".gz") if path.suffix == ".gz" else f"unpacked-{path.name}"
        return _packed(path, "compressed with gzip", f"gunzip -c {path.name} > {plain}", [plain])
    for magic, what, command in (
        (b"BZh", "compressed with bzip2", "bunzip2"),
        (b"\xfd7zXZ", "compressed with xz", "unxz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unzstd"),
        (b"7z\xbc\xaf", "a 7z archive", "7z x"),
        (b"Rar!", "a rar archive", "unrar x"),
    ):
        if head.startswith(magic):
            return _packed(path, what, f"{command} {path.name}", [])
    if head[257:262] == b"ustar":
        names = _tar_names(path)
        if {"sys_info", "pickle", "storages"} <= set(names):
            return None  # torch's own, from before version 0.4, of which its reader tells
        return _packed(path, "a tar archive", f"tar xf {path.name}", names)
    return None


def _tar_names(path: Path) -> list[str]:
    try:
        with tarfile.open(path) as archive:
            return [member.name for member in archive if member.isfile()]
    except (tarfile.TarError, OSError, EOFError):
        return []


def _zipped(path: Path, names: list[str]) -> PinnaceError | None:
    if any(name.endswith(".weights.h5") for name in names):
        return _of_another(path, "Keras' own", f"{_TO_ONNX}{_KERAS}")
    if names and all(name.endswith(".npy") for name in names):
        return _of_another(path, *_NUMPY)
    models = [name for name in names if Path(name).suffix.lower() in _WEIGHTS]
    if not models:
        return None
    if "MAR-INF/MANIFEST.json" in names:
        return SourceError(
            f"{path} is an archive of TorchServe", hint=f"pinnace export torchserve:{path.name}"
        )
    return _packed(path, "a zip archive", f"unzip {path.name}", names)


def _packed(path: Path, what: str, command: str, names: list[str]) -> PinnaceError:
    models = [name for name in names if Path(name).suffix.lower() in _WEIGHTS]
    holds = (
        f" with {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}" if len(names) > 1 else ""
    )
    then = f", then pinnace export {models[0]}" if models else ", then export what was in it"
    return SourceError(f"{path} is {what}{holds}", hint=command + then)


def _of_another(path: Path, whose: str, hint: str) -> PinnaceError:
    return SourceError(
        f"{path} is {whose}, which pinnace does not read", hint=hint.replace("PATH", str(path.name))
    )


def _beginning(head: bytes) -> str:
    return repr(head[:60].decode("utf-8", errors="replace"))
