"""A source that is typed as a plain path: which kind of source it is."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from pinnace.models.bundle.manifest import FILE_NAME
from pinnace.models.errors import PinnaceError, SourceError, UsageError
from pinnace.models.files import similar_path
from pinnace.models.source import Source

HUBCONF = "hubconf.py"
CONFIG = "config.json"
_WEIGHTS = (".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".ckpt", ".bin", ".tar", ".pkl", ".torchscript")
_SHOWN = 5
_OF_THE_HUB = (".safetensors", ".bin", ".onnx")


def find_source(text: str) -> Source:
    """The source that a string names: `KIND:...`, a name of the catalogue, or the path of a file or folder.

    Raises:
        UsageError: it is none of these, or a folder that needs another word; the hint has it.
        SourceError: it looks like a path, and nothing is there.
    """
    from pinnace.models.loaders import all_loaders, parse_source

    kind, colon, rest = text.partition(":")
    if colon and kind in all_loaders():
        if kind == "hub" and (error := _hub_error(rest)) is not None:
            raise error
        if (found := all_loaders()[kind].find(rest)) is not None:
            return found
        if kind == "file" and _is_folder(Path(rest).expanduser()):
            return _of_folder(rest)
        return parse_source(text)
    for loader in all_loaders().values():
        if (found := loader.find(text)) is not None:
            return found
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return Source("file", text)
    except OSError:  # a name that no file can have
        return parse_source(text)
    if _is_folder(path):
        return _of_folder(text)
    if path.suffix.lower() in _WEIGHTS or text.startswith((".", "/", "~")):
        similar = similar_path(path)
        raise SourceError(
            f"there is no file {path.absolute()}",
            hint=None if similar is None else f"did you mean {similar}?",
        )
    if text.count("/") == 1 and not colon:
        raise UsageError(
            f"{text!r} is not a model source, and there is no such file",
            hint=f"hf:{text} for a model of Hugging Face's hub, "
            f"hub:{text}#ENTRY for a repository with a hubconf.py",
        )
    return parse_source(text)


def default_name(source: Source) -> str:
    """The folder of a bundle for which the user gave none: `NAME.bundle`."""
    from pinnace.models.loaders import all_loaders

    loader = all_loaders().get(source.kind)
    if loader is not None and (title := loader.title(source)) is not None:
        return f"{title}.bundle"
    if source.kind == "file":
        name = Path(source.name).expanduser().name
        for suffix in (".tar", *_WEIGHTS):
            name = name.removesuffix(suffix) or name
    elif source.entry is not None:
        name = source.entry
    else:
        name = Path(source.name).expanduser().resolve().name if _is_folder(Path(source.name)) else source.name
    return f"{name.rpartition('/')[2].rpartition(':')[2] or 'model'}.bundle"


def describe_folder(folder: str) -> PinnaceError:
    """What a folder is that cannot be exported as it was typed, and the command that exports it."""
    path = Path(folder).expanduser()
    local = _local(folder)
    if (path / HUBCONF).is_file():
        entries = entry_points(path / HUBCONF)
        return UsageError(
            f"{folder} is a repository of torch.hub, and has several entry points"
            if len(entries) > 1
            else f"{folder} is a repository of torch.hub",
            expected=f"hub:{local}#ENTRY, with one of {', '.join(entries)}"
            if entries
            else f"hub:{local}#ENTRY",
            hint=f"pinnace export hub:{local}#{entries[0] if entries else 'ENTRY'} --trust",
        )
    if (path / FILE_NAME).is_file():
        return UsageError(
            f"{folder} is a bundle already", hint=f"pinnace inspect {folder}, or pinnace serve {folder}"
        )
    files = sorted(
        file.relative_to(path).as_posix() for file in path.rglob("*") if file.suffix.lower() in _WEIGHTS
    )
    if (path / "saved_model.pb").is_file():
        return SourceError(
            f"{folder} is a SavedModel of TensorFlow, which pinnace does not read",
            hint="pip install tf2onnx; python -m tf2onnx.convert "
            f"--saved-model {folder} --output model.onnx, then pinnace export model.onnx",
        )
    if runs := sorted(_hugging_faces_within(path), key=_step):
        named = [(Path(folder) / run.relative_to(path)).as_posix() for run in runs]
        return UsageError(
            f"{folder} is a folder in which there are {len(runs)} of Hugging Face's"
            if len(runs) > 1
            else f"{folder} is a folder in which there is one of Hugging Face's",
            expected="one of " + ", ".join(named[-_SHOWN:]),
            hint=f"pinnace export {named[-1]}",
        )
    if not files:
        return SourceError(
            f"{folder} is a folder, and holds no model", expected="a file, or a folder with config.json"
        )
    return UsageError(
        f"{folder} is a folder, and nothing says which of its files is the model",
        expected="one of " + ", ".join(files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else ""),
        hint=f"pinnace export {(Path(folder) / files[0]).as_posix()}",
    )


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder has a `config.json` of transformers' or timm's."""
    try:
        config: Any = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool({"model_type", "architectures", "architecture"} & config.keys())


def _hugging_faces_within(folder: Path) -> list[Path]:
    """The folders below one that hold a network of Hugging Face's, as its trainer writes `checkpoint-500`."""
    found = [config.parent for config in folder.rglob(CONFIG)]
    return [
        each
        for each in found
        if is_hugging_face(each) and any(any(each.glob(f"*{end}")) for end in _OF_THE_HUB)
    ]


def _step(folder: Path) -> tuple[int, str]:
    """The step in a name such as `checkpoint-500`, so that the last one comes last."""
    step = re.search(r"\d+$", folder.name)
    return int(step[0]) if step else -1, folder.as_posix()


def _only_onnx(folder: Path) -> Path | None:
    """The one ONNX file of a folder without weights of torch, as Optimum writes it; None for others."""
    files = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return files[0] if len(files) == 1 and not weights else None


def entry_points(hubconf: Path) -> list[str]:
    """The names that a hubconf.py offers, read without running it."""
    try:
        tree = ast.parse(hubconf.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return []
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names if not _is_standard(node.module)]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call | ast.Lambda | ast.Name):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_") and name != "*"]


def _is_standard(module: str | None) -> bool:
    """Whether an import brings no entry point: the standard library, torch and the like."""
    import sys

    top = (module or "").partition(".")[0]
    return top in sys.stdlib_module_names or top in ("torch", "torchvision", "numpy", "PIL", "timm")


def _of_folder(text: str) -> Source:
    path = Path(text).expanduser()
    if is_hugging_face(path) and (file := _only_onnx(path)) is not None:
        return Source("file", (Path(text) / file.relative_to(path)).as_posix())
    if is_hugging_face(path) and not (path / HUBCONF).is_file():
        return Source("hf", _local(text))
    raise describe_folder(text)


def _hub_error(rest: str) -> PinnaceError | None:
    """A local folder that was typed without `./` or without an entry point."""
    folder, _, entry = rest.partition("#")
    if not folder or not _is_folder(Path(folder).expanduser()) or (entry and _local(folder) == folder):
        return None
    if not entry:
        return describe_folder(folder)
    return UsageError(
        f"hub:{rest} is no repository on GitHub, but a folder here",
        hint=f"hub:{_local(folder)}#{entry} takes the folder",
    )


def _local(folder: str) -> str:
    return folder if folder.startswith((".", "/", "~")) else f"./{folder}"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
