"""What Hugging Face's files beside an ONNX file say of it, as Optimum writes them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.install import install_line
from pinnace.models.labels import names_in
from pinnace.models.loaders.base import OnnxFile
from pinnace.models.loaders.paths import CONFIG, is_hugging_face

_PROCESSOR = "preprocessor_config.json"


def with_what_stands_beside(path: Path) -> OnnxFile:
    """The file with class names and preprocessing, where a `config.json` of transformers stands beside it."""
    folder = path.parent if is_hugging_face(path.parent) else path.parent.parent
    if not is_hugging_face(folder) or (folder != path.parent and path.parent.name != "onnx"):
        return OnnxFile(path)
    from pinnace.models.loaders import hf

    notes: list[str] = []
    try:
        config = hf.read_json(folder / CONFIG) or {}
        labels = names_in(config["id2label"]) if isinstance(config.get("id2label"), dict) else None
    except (PinnaceError, UsageError):
        return OnnxFile(path)
    if labels and all(name == f"{hf.DEFAULT_LABEL}{index}" for index, name in enumerate(labels)):
        labels = None
    if labels:
        notes.append(f"{len(labels)} class names were found in {CONFIG} beside the file (id2label)")
    if config.get("problem_type") == "multi_label_classification":
        notes.append(f"{CONFIG} beside the file says that several labels may be true: --scores sigmoid")
    preprocess, said = _preprocess(folder)
    return OnnxFile(path, preprocess, labels, (*notes, *said))


def _preprocess(folder: Path) -> tuple[Preprocess | None, list[str]]:
    if not (folder / _PROCESSOR).is_file():
        return None, []
    if importlib.util.find_spec("transformers") is None:
        return None, [
            f"{_PROCESSOR} beside the file says how images are prepared, and is read where transformers is "
            f"installed: {install_line('hf')}"
        ]
    from pinnace.models.loaders import hf

    return hf.read_preprocess(folder)
