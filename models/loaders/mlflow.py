"""MLflow's folder of a network: `MLmodel`, and what its flavours `pytorch` and `onnx` wrote.

See https://mlflow.org/docs/latest/ml/model/.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pinnace.models.errors import MissingDependency, SourceError
from pinnace.models.files import read_regular
from pinnace.models.install import install_packages
from pinnace.models.loaders import file
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, OnnxFile, imagenet_preprocess
from pinnace.models.loaders.foreign import imports_from
from pinnace.models.loaders.packed import require_inside
from pinnace.models.source import Source

KIND = "mlflow"
_MLMODEL = "MLmodel"
_MOST_TEXT = 4 << 20
_FILES = ("model.pth", "model.pt2", "model.onnx", "state_dict.pth")


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load the network of a folder; the size of its images where its signature has one.

    A pickled network is read where it is trusted, and finds what it imports in the folder that `code_paths`
    made, or in the one in which the command is run.

    Raises:
        UsageError: an option does not apply, or the file needs `--trust` or `--arch`.
        SourceError: the folder is no model of these flavours, or is damaged.
        MissingDependency: a package is missing.
    """
    folder = _folder(request)
    document = _document(folder)
    flavour, place = _network(folder, document)
    code = folder / require_inside(folder, str(flavour["code"])) if flavour.get("code") else None
    inner = replace(request, source=Source("file", str(place)))
    with imports_from(code) if code is not None and request.trust else contextlib.nullcontext():
        loaded = file.load(inner)
    size = _image_size(document)
    if isinstance(loaded, LoadedModel) and loaded.preprocess is None and size is not None:
        note = f"the signature in {_MLMODEL} has images of {size[0]}x{size[1]}"
        preprocess = replace(imagenet_preprocess(), resize=size, crop=None)
        loaded = replace(loaded, preprocess=preprocess, assumed_for="ImageNet", notes=(*loaded.notes, note))
    return loaded


def _folder(request: LoadRequest) -> Path:
    return (Path(request.folder) / Path(request.source.name).expanduser()).absolute()


def _document(folder: Path) -> dict[str, Any]:
    path = folder / _MLMODEL
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingDependency(
            f"reading {path} needs the package pyyaml, which is not installed",
            hint=install_packages("pyyaml"),
        ) from None
    try:
        data = yaml.safe_load(read_regular(path, _MOST_TEXT))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not isinstance(data.get("flavors"), dict):
        raise SourceError(f"{path} names no flavours")
    return data


def _network(folder: Path, document: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """The flavour that is read, and its file."""
    flavours = document["flavors"]
    for kind, key in (("pytorch", "model_data"), ("onnx", "data")):
        flavour = flavours.get(kind)
        if not isinstance(flavour, dict):
            continue
        place = folder / require_inside(folder, str(flavour.get(key) or "data"))
        found = (
            place if place.is_file() else next(filter(Path.is_file, (place / one for one in _FILES)), None)
        )
        if found is None:
            raise SourceError(
                f"{folder} lacks the file of its network", expected=" or ".join(_FILES) + f" in {place}"
            )
        return flavour, found
    raise SourceError(
        f"{folder} has no flavour of MLflow's that is read",
        expected="pytorch or onnx",
        got=", ".join(map(str, flavours)) or "none",
    )


def _image_size(document: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of the one input, where it is images of three channels."""
    try:
        (spec,) = json.loads(document["signature"]["inputs"])
        _, channels, height, width = spec["tensor-spec"]["shape"]
    except (KeyError, TypeError, ValueError):
        return None
    return (height, width) if channels == 3 and height > 0 and width > 0 else None


def _find(text: str) -> Source | None:
    try:
        return Source(KIND, text) if (Path(text).expanduser() / _MLMODEL).is_file() else None
    except OSError:
        return None


def snippet(request: LoadRequest) -> str:
    """Lines that read the file in the folder."""
    folder = _folder(request)
    place = _network(folder, _document(folder))[1]
    return file.snippet(replace(request, source=Source("file", str(place))))


LOADER = Loader(
    kind=KIND,
    form="mlflow:FOLDER",
    usage="",
    load=load,
    snippet=snippet,
    rank=61,
    reads=lambda source: source.name,
    find=_find,
)
