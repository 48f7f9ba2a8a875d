"""Models in Triton's repository: a folder with `config.pbtxt`, and the file in a folder for each version.

See https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.files import read_regular
from pinnace.models.labels import read_labels
from pinnace.models.loaders import file
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, OnnxFile
from pinnace.models.loaders.packed import require_inside
from pinnace.models.source import Source

KIND = "triton"
CONFIG = "config.pbtxt"
_FILES = {"onnxruntime": "model.onnx", "onnx": "model.onnx", "pytorch": "model.pt"}
_MOST_TEXT = 1 << 20
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|#[^\n]*')
_FIELD = re.compile(r'\b(\w+)\s*:\s*"((?:[^"\\\n]|\\.)*)"')


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load the network of a model's newest version, with the class names of `label_filename`.

    How images are prepared Triton leaves to its clients.

    Raises:
        UsageError: an option does not apply.
        SourceError: the folder is no model of a repository, or one of a backend whose files are not read.
    """
    folder = (Path(request.folder) / Path(request.source.name).expanduser()).absolute()
    fields = _fields(folder / CONFIG)
    version = _newest(folder)
    path = version / _file_name(folder, fields)
    loaded = file.load(replace(request, source=Source("file", str(path))))
    notes = [f"version {version.name} of {folder.name} was taken"]
    labels = loaded.labels
    if (name := fields.get("label_filename")) is not None:
        found = read_labels(folder / require_inside(folder, name))
        labels = found.names
        notes += [f"{len(labels)} class names were found in {name} (label_filename)", *found.notes]
    return replace(loaded, labels=labels, notes=(*loaded.notes, *notes))


def _fields(path: Path) -> dict[str, str]:
    """The fields of a configuration that are texts; of those that come twice, the first."""
    try:
        text = read_regular(path, _MOST_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as a configuration of Triton: {error}") from None
    plain = _COMMENT.sub(lambda match: match[1] or "", text)
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(plain):
        fields.setdefault(name, value)
    return fields


def _file_name(folder: Path, fields: dict[str, str]) -> str:
    platform = fields.get("platform", "")
    backend = fields.get("backend") or platform.partition("_")[0]
    usual = "model.onnx" if not backend else _FILES.get(backend)
    if usual is None:
        raise SourceError(
            f"{folder} is a model for Triton's {platform or backend}, whose files are not read",
            expected="one of onnxruntime or pytorch",
            hint="export the ONNX file or the checkpoint that it was made from",
        )
    return require_inside(folder, fields.get("default_model_filename", usual))


def _newest(folder: Path) -> Path:
    versions = [each for each in folder.iterdir() if each.is_dir() and each.name.isdecimal()]
    if not versions:
        raise SourceError(f"{folder} has no version: a folder such as 1 with the model's file")
    return max(versions, key=lambda each: int(each.name))


def _find(text: str) -> Source | None:
    """The model that a folder is, or the only one of a repository."""
    folder = Path(text).expanduser()
    try:
        if (folder / CONFIG).is_file():
            return Source(KIND, text)
        models = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    except OSError:
        return None
    if len(models) > 1:
        raise UsageError(
            f"{text} is a repository of Triton with several models",
            expected="one of " + ", ".join(model.as_posix() for model in models),
            hint=f"pinnace export {models[0].as_posix()}",
        )
    return Source(KIND, (Path(text) / models[0].name).as_posix()) if models else None


def snippet(request: LoadRequest) -> str:
    """Lines that read the file of the newest version."""
    folder = (Path(request.folder) / Path(request.source.name).expanduser()).absolute()
    path = _newest(folder) / _file_name(folder, _fields(folder / CONFIG))
    return file.snippet(replace(request, source=Source("file", str(path))))


LOADER = Loader(
    kind=KIND,
    form="triton:FOLDER",
    usage="",
    load=load,
    snippet=snippet,
    rank=62,
    reads=lambda source: source.name,
    find=_find,
)
