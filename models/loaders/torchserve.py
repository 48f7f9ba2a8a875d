"""Archives of TorchServe, as `torch-model-archiver` writes them: `.mar`, `.tar.gz`, or a folder.

What TorchServe 0.12 does with them is written in `ts/torch_handler`; see `docs/from-torchserve.md`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import PinnaceError, SourceError, UsageError
from pinnace.models.labels import plain
from pinnace.models.loaders.base import (
    LoadedModel,
    Loader,
    LoadRequest,
    OnnxFile,
    Parts,
    imagenet_preprocess,
    refuse,
)
from pinnace.models.loaders.foreign import imports_from, in_one_sentence, untrusted
from pinnace.models.loaders.packed import Packed, look_into, require_inside
from pinnace.models.source import Source

if TYPE_CHECKING:
    import torch

KIND = "torchserve"
MANIFEST = "MAR-INF/MANIFEST.json"
_LABELS = "index_to_name.json"
_CLASSIFIES = "image_classifier"
_OTHER_HANDLERS = ("image_segmenter", "object_detector", "text_classifier")
_SUFFIXES = (".mar", ".tgz", ".tar.gz", ".zip")
_MOST_TEXT = 16 << 20
_MOST_CLASSES = 1_000_000
_VERSION = re.compile(r"[\w.+-]{1,64}")
_NO_NAME = re.compile(r"[^\w.-]+")

# Resize(256), CenterCrop(224), ImageNet's mean and std, on what Pillow opens: nothing turns it by its EXIF.
PREPROCESS = replace(imagenet_preprocess(224, 256), exif=False)


@dataclass(frozen=True)
class ArchivedModel:
    """What an archive's manifest says.

    Attributes:
        files: the archive.
        name: the model's name, by which TorchServe's clients ask.
        version: its version there, or None.
        handler: what prepared images and answers there: the name of one of TorchServe's, or a file.
        weights: the name of the serialised file, or None.
        code: the name of the file of Python that has the network, or None.
    """

    files: Packed
    name: str | None
    version: str | None
    handler: str | None
    weights: str | None
    code: str | None


def read_archive(path: Path) -> ArchivedModel:
    """Look at an archive, or at a folder of the same files.

    Raises:
        SourceError: it is damaged, hostile, or has no manifest that can be read.
    """
    files = look_into(path).below(MANIFEST)
    if files is None:
        raise SourceError(
            f"{path} has no {MANIFEST}, and so is no archive of TorchServe",
            hint="torch-model-archiver writes it",
        )
    try:
        data = json.loads(files.read(MANIFEST, _MOST_TEXT))
    except (ValueError, RecursionError):
        raise SourceError(f"{path}: its {MANIFEST} is no JSON") from None
    model = data.get("model") if isinstance(data, dict) else None
    if not isinstance(model, dict):
        raise SourceError(f"{path}: its {MANIFEST} describes no model")
    said: dict[str, str | None] = {}
    for key in ("modelName", "modelVersion", "handler", "serializedFile", "modelFile"):
        value = model.get(key) or None
        if not isinstance(value, str | None):
            raise SourceError(f"{path}: {key} in its {MANIFEST} is not a text", got=str(value)[:40])
        if value is not None and key.endswith("File"):
            require_inside(path, value)
        said[key] = value
    return ArchivedModel(
        files,
        said["modelName"],
        said["modelVersion"],
        said["handler"],
        said["serializedFile"],
        said["modelFile"],
    )


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load the network of an archive, with its class names and the preprocessing of `image_classifier`.

    A handler of the user's own is never run. The network is TorchScript or an ONNX file; or weights, for
    which the archive's Python file is run where it is trusted, and not where `--arch` names the network.

    Raises:
        UsageError: an option does not apply, or code would have to run that is not trusted.
        SourceError: the archive is damaged or hostile, or is none of a classifier of images.
        MissingDependency: the archive's code needs a package.
    """
    path = _path(request)
    model = read_archive(path)
    if request.source.ref not in (None, model.version):
        raise UsageError(
            f"{path} holds version {model.version} of its model", expected=f"version {request.source.ref}"
        )
    if model.handler in _OTHER_HANDLERS:
        raise SourceError(
            f"{path} was made for TorchServe's handler {model.handler}, and so classifies no images"
        )
    labels, about_labels = _labels(model)
    loaded = _network(request, model)
    notes = (*loaded.notes, *about_labels, _about_handler(model))
    loaded = replace(loaded, preprocess=PREPROCESS, labels=labels or loaded.labels, notes=notes)
    if isinstance(loaded, LoadedModel) and model.handler != _CLASSIFIES:
        return replace(loaded, assumed_for="TorchServe's image_classifier")
    return loaded


def _about_handler(model: ArchivedModel) -> str:
    if model.handler == _CLASSIFIES:
        return (
            "images are prepared as TorchServe's handler image_classifier does it: the shorter edge resized "
            "to 256, the middle 224 x 224, ImageNet's mean and std; they are not turned by their EXIF"
        )
    return (
        f"the archive's own handler {model.handler} was not run; images are prepared as TorchServe's "
        "image_classifier does it, and are not turned by their EXIF; --preprocess FILE says otherwise"
    )


def _network(request: LoadRequest, model: ArchivedModel) -> LoadedModel | OnnxFile:
    path, builds = model.files.path, model.code is not None and request.arch is None
    if model.weights is None and not builds:
        raise SourceError(
            f"{path} names no file of weights: its handler made the network itself, and is not run",
            hint="export what the handler loads",
        )
    if builds and not request.trust:
        error = untrusted(f"{path} brings Python code that builds its network ({model.code})")
        error.hint = f"{error.hint}; or name the network with --arch, and no code is run"
        raise error
    wanted = [name for name in (model.weights, model.code) if name is not None]
    # Code may import what stands beside it, and weights of ONNX have other files.
    beside = builds or (model.weights or "").endswith(".onnx")
    names = list(model.files.sizes) if beside else wanted[:1]
    # The interpreter of an export has a folder for temporary files that goes away with it.
    folder = model.files.unpack(names, Path(tempfile.mkdtemp(prefix="torchserve-")))
    try:
        if builds:
            assert model.code is not None
            return _built(request, model, folder, model.code)
        from pinnace.models.loaders import file

        inner = replace(request, source=Source("file", str((folder / str(model.weights)).absolute())))
        return file.load(inner)
    except PinnaceError as error:
        for name in wanted:  # the user knows the archive, and not where it was unpacked
            error.message = error.message.replace(str((folder / name).absolute()), f"{name} in {path}")
        raise


def _built(request: LoadRequest, model: ArchivedModel, folder: Path, code: str) -> LoadedModel:
    """The network of the archive's own Python file, with its weights."""
    refuse(request, num_classes=request.num_classes, arg=request.arguments)
    from pinnace.models.loaders.fitting import fit_weights
    from pinnace.models.loaders.state_dict import find_weights
    from pinnace.models.loaders.unpickle import read

    network = _build(folder.absolute(), code, f"{model.files.path}: {code}")
    if model.weights is None:
        return LoadedModel(network)
    place = folder.absolute() / model.weights
    found, notes = find_weights(read(place, trust=True, folder=folder.absolute()), place, request.weights)
    state = found if isinstance(found, Mapping) else found.state_dict()
    return LoadedModel(network, notes=(*notes, *fit_weights(network, state, place)))


def _build(folder: Path, code: str, what: str) -> torch.nn.Module:
    import torch

    name = Path(code).stem
    with imports_from(folder), in_one_sentence(what, folder):
        spec = importlib.util.spec_from_file_location(name, folder / code)
        if spec is None or spec.loader is None:
            raise SourceError(f"{what} is no file of Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(name, module)  # where pickles look for its classes
        spec.loader.exec_module(module)
        kinds = [
            each
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, torch.nn.Module) and each.__module__ == name
        ]
        if len(kinds) != 1:
            raise SourceError(
                f"{what} must define one network, as TorchServe demands it",
                got=", ".join(kind.__name__ for kind in kinds) or "none",
            )
        network: torch.nn.Module = kinds[0]()
        return network


def _labels(model: ArchivedModel) -> tuple[tuple[str, ...] | None, list[str]]:
    """The class names in either of the forms that TorchServe takes, and what has to be said of them."""
    path, files = model.files.path, model.files
    if _LABELS not in files.sizes:
        return None, [f"the archive has no {_LABELS}: as in TorchServe, classes are called by their numbers"]
    try:
        data: Any = json.loads(files.read(_LABELS, _MOST_TEXT))
    except (ValueError, RecursionError):
        raise SourceError(f"{path}: its {_LABELS} is no JSON") from None
    if isinstance(data, dict) and isinstance(data.get("object_type_names"), list):
        data = {str(index): name for index, name in enumerate(data["object_type_names"])}
    if not isinstance(data, dict) or not data:
        raise SourceError(f"{path}: its {_LABELS} names no classes", expected='{"0": "cat", "1": "dog"}')
    names: dict[int, str] = {}
    for key, value in data.items():
        value = value[-1] if isinstance(value, list) and value else value
        index = int(key) if key.isascii() and key.isdecimal() and len(key) < 8 else _MOST_CLASSES
        if index >= _MOST_CLASSES or not isinstance(value, str):
            raise SourceError(
                f"{path}: its {_LABELS} does not name classes by their numbers",
                got=f"{key!r}: {value!r}"[:80],
            )
        names[index] = plain(value)
    numbers = range(max(names) + 1)
    missing = [index for index in numbers if index not in names]
    notes = []
    if missing:
        notes.append(f"{_LABELS} has no name for class {missing[0]}, which is called by its number")
    return tuple(names.get(index, str(index)) for index in numbers), notes


def _path(request: LoadRequest) -> Path:
    return Path(request.folder) / Path(request.source.name).expanduser()


def _find(text: str) -> Source | None:
    """The source for the path of an archive or of its folder; None where there is none."""
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            known = (path / MANIFEST).is_file()
        else:
            known = path.name.lower().endswith(_SUFFIXES) and path.is_file()
            if known and not path.name.lower().endswith(".mar"):
                known = look_into(path).below(MANIFEST) is not None
    except (OSError, SourceError):  # what is wrong with a file that may be something else, others say
        return None
    return _of_version(text, read_archive(path)) if known else None


def _of_version(text: str, model: ArchivedModel) -> Source:
    version = model.version or ""
    return Source(KIND, text, version if _VERSION.fullmatch(version) else None)


def _title(source: Source) -> str:
    """The model's name there: so its clients ask for it."""
    path = Path(source.name).expanduser()
    name = read_archive(path).name or path.name.partition(".")[0]
    return _NO_NAME.sub("-", name).strip(".-") or "model"


def parse(text: str) -> Parts | None:
    """`PATH` or `PATH@VERSION`."""
    name, _, version = text.rpartition("@")
    if not name or not _VERSION.fullmatch(version) or version.lower().endswith(_SUFFIXES):
        return text, None, None
    return name, version, None


def archive_in(source: str) -> tuple[str, str | None] | None:
    """The archive's file name and version in the string of a source that was exported; None for others."""
    kind, _, rest = source.partition(":")
    parts = parse(rest) if kind == KIND else None
    return None if parts is None else (Path(parts[0]).name, parts[1])


def snippet(request: LoadRequest) -> str:
    """Lines that load the network of a zip archive or a folder with torch alone."""
    path = _path(request)
    model = read_archive(path)
    if path.is_dir():
        inside = repr(str(path / model.files.root / (model.weights or "")))
    else:
        inside = f"io.BytesIO(zipfile.ZipFile({str(path)!r}).read({model.weights!r}))"
    if model.code is None or request.arch is not None:
        return f"import io\nimport zipfile\n\nmodel = torch.jit.load({inside}, map_location='cpu')\n"
    module = Path(model.code).stem
    return (
        f"import io\nimport sys\nimport zipfile\n\nsys.path.insert(0, {str(path)!r})\nimport {module}\n\n"
        f"(kind,) = [each for each in vars({module}).values() if isinstance(each, type) "
        f"and each.__module__ == {module!r}]\n"
        f"model = kind()\nmodel.load_state_dict(torch.load({inside}, map_location='cpu'))\n"
    )


LOADER = Loader(
    kind=KIND,
    form="torchserve:ARCHIVE.mar or torchserve:FOLDER",
    usage="A.mar",
    load=load,
    snippet=snippet,
    parse=parse,
    rank=60,
    reads=lambda source: source.name,
    find=_find,
    title=_title,
)
