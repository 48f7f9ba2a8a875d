"""Models in BentoML's store, by their tag: what `bentoml.pytorch`, `torchscript` and `onnx` save there."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.install import install_line
from pinnace.models.labels import names_in
from pinnace.models.loaders import file
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, OnnxFile
from pinnace.models.loaders.foreign import describe
from pinnace.models.source import Source

KIND = "bentoml"
_SUFFIXES = (".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".bin", ".ckpt")


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load the one file with a network that a model of the store has, with class names of its metadata.

    Raises:
        UsageError: an option does not apply, or the file needs `--trust`.
        SourceError: there is no such model, or not one file.
        MissingDependency: bentoml is not installed.
    """
    model = _model(request)
    loaded = file.load(replace(request, source=Source("file", str(_file(model)))))
    notes = [f"{model.tag} was taken from BentoML's store"]
    labels = _labels(model)
    if labels is not None:
        notes.append(f"{len(labels)} class names were found in its metadata")
    return replace(loaded, labels=labels or loaded.labels, notes=(*loaded.notes, *notes))


def _model(request: LoadRequest) -> Any:
    try:
        models: Any = importlib.import_module("bentoml").models
    except ModuleNotFoundError:
        raise MissingDependency(
            f"{request.source} needs the package bentoml, which is not installed",
            hint=install_line("serve"),
        ) from None
    try:
        return models.get(request.source.name)
    except Exception as error:  # its exceptions have classes of their own, and those of yaml and attrs
        raise SourceError(
            f"{request.source} is not in BentoML's store: {describe(error)}", hint="bentoml models list"
        ) from None


def _file(model: Any) -> Path:
    folder = Path(model.path)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.relative_to(folder).as_posix() for path in found)
    raise SourceError(
        f"the model {model.tag} of BentoML's store has not one file with a network",
        expected="one file with a suffix of " + ", ".join(_SUFFIXES),
        got=names or "none",
        hint=f"pinnace export {found[0]}" if found else None,
    )


def _labels(model: Any) -> tuple[str, ...] | None:
    try:
        return names_in(dict(model.info.metadata)) if model.info.metadata else None
    except UsageError:  # numbers of something else
        return None


def snippet(request: LoadRequest) -> str:
    """Lines that read the file in the store."""
    return file.snippet(replace(request, source=Source("file", str(_file(_model(request))))))


LOADER = Loader(
    kind=KIND,
    form="bentoml:NAME[:VERSION]",
    usage="bentoml:TAG",
    load=load,
    snippet=snippet,
    rank=63,
    title=lambda source: source.name.partition(":")[0],
)
