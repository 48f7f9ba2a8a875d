"""Class names: the files in which people have them, and the forms that checkpoints keep them in."""

from __future__ import annotations

import ast
import codecs
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.install import install_packages
from pinnace.models.label_lines import label_map, read_lines

# Where files and checkpoints keep them, in the order in which they are looked for.
KEYS = (
    *("names", "class_names", "classes", "CLASSES", "labels", "label_names", "categories"),
    *("id2label", "idx_to_class", "idx2label", "index_to_name", "class_to_idx", "label2id"),
)

_LINE_ENDS = re.compile(r"\r\n|\n|\r")
_ASSIGNED = re.compile(r"\w+\s*=\s*([\[{(].*)", re.DOTALL)
_NAME_KEYS = ("name", "label", "class_name", "class", "display_name", "title")
_INDEX_KEYS = ("id", "index", "idx", "class_id", "class_index", "label_id")
_LONGEST_SHOWN = 5
# Archives and sheets of Excel, pickles, old sheets, gzip, PDF.
_BINARY = (
    b"PK\x03\x04",
    *(bytes((0x80, protocol)) for protocol in range(2, 6)),
    b"\xd0\xcf\x11\xe0",
    b"\x1f\x8b",
    b"%PDF",
)
_AS_TEXT = "write a text file in UTF-8, with one name on each line in the order of the model's outputs"
_UTF_16_SHARE = 4  # a byte of 0 in at least every fourth place


@dataclass(frozen=True)
class LabelFile:
    """The class names of a file.

    Attributes:
        names: one for each output, in the order of the outputs.
        notes: sentences on what was made of the file.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def read_labels(path: Path) -> LabelFile:
    """Read class names: text with one on each line, JSON, YAML, or a Python dictionary.

    Text is UTF-8, UTF-16, or else Latin-1 of Windows, of which a note tells. Only line feeds and carriage
    returns end a line. Lines and columns with an index are put into its order; see `read_lines`. JSON and
    YAML hold a list, `{"0": "cat"}`, `{"0": ["n02123045", "cat"]}`, `{"cat": 0}`,
    `[{"id": 0, "name": "cat"}]` or one of these under a name such as `names`, as Ultralytics writes them.

    Raises:
        UsageError: the file is missing, no text, empty, or has names that are no list of classes.
        MissingDependency: it is YAML, and there is no package that reads it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read as labels: {error}") from None
    try:
        if content.startswith(_BINARY):
            raise ValueError("it is not text")
        text, notes = _decoded(content, path)
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as labels: {error}", hint=_AS_TEXT) from None
    data = _data(text, path)
    if data is None:
        names = _from_lines(text, notes, path)
    elif (found := names_in(data, notes)) is not None:
        names = found
    else:
        raise UsageError(
            f"{path} does not hold a list of class names",
            expected='["cat", "dog"], {"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1}, '
            "or one of these under " + ", ".join(KEYS[:3]),
        )
    if not names:
        raise UsageError(f"{path} holds no labels")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        notes.append(f"{path} has {_listed(twice)} more than once")
    return LabelFile(names, tuple(notes))


def names_in(data: Any, notes: list[str] | None = None) -> tuple[str, ...] | None:
    """The class names that plain data holds, in the order of the outputs; None where it holds none.

    Args:
        data: a list of names, names by index, indices by name, or a mapping with one of these under a key
            of `KEYS`.
        notes: where a sentence goes if the indices do not begin at 0.

    Raises:
        UsageError: an index is missing or comes twice.
    """
    if isinstance(data, Mapping):
        for key in KEYS:
            if isinstance(data.get(key), Mapping | list | tuple):
                return names_in(data[key], notes)
        return _from_mapping(data, [] if notes is None else notes)
    if not isinstance(data, list | tuple) or not data:
        return None
    if all(isinstance(item, Mapping) for item in data):
        name, index = _shared_key(data, _NAME_KEYS), _shared_key(data, _INDEX_KEYS)
        if name is None:
            return None
        if index is not None and all(_is_index(item[index]) for item in data):
            pairs = [(int(item[index]), item[name]) for item in data]
            return _in_order(pairs, [] if notes is None else notes)
        data = [item[name] for item in data]
    names = [_name(item) for item in data]
    return None if None in names else tuple(name for name in names if name is not None)


def _shared_key(items: Sequence[Mapping[Any, Any]], keys: Sequence[str]) -> str | None:
    return next((key for key in keys if all(key in item for item in items)), None)


def _from_mapping(data: Mapping[Any, Any], notes: list[str]) -> tuple[str, ...] | None:
    if not data:
        return None
    by_index, by_name = all(map(_is_index, data)), all(map(_is_index, data.values()))
    if by_index and by_name:  # folders called 1, 10 and 2, by their indices, or the other way around
        numbers = list(range(len(data)))
        fits = [sorted(map(int, side)) == numbers for side in (data, data.values())]
        by_index = fits == [True, False] or all(isinstance(value, str) for value in data.values())
        by_index = by_index and fits != [False, True]
    if by_index:
        named = [(int(key), _name(value)) for key, value in data.items()]
    elif by_name:
        named = [(int(value), _name(key)) for key, value in data.items()]
    else:
        return None
    return _in_order([(index, name) for index, name in named if name is not None], notes)


def _in_order(pairs: Sequence[tuple[int, Any]], notes: list[str]) -> tuple[str, ...]:
    """Names in the order of their indices, which have to begin at 0 or 1 and leave nothing out."""
    indices = sorted(index for index, _ in pairs)
    first = 1 if indices and indices[0] == 1 else 0
    if indices != list(range(first, first + len(indices))):
        twice = sorted({index for index in indices if indices.count(index) > 1})
        missing = sorted({*range(first, indices[-1] + 1)} - {*indices})
        what = f"have the index {twice[0]} twice" if twice else f"lack the index {missing[0]}"
        raise UsageError(
            f"the class names {what}", expected=f"each of 0 to {len(indices) - 1} once", got=_listed(indices)
        )
    if first:
        note = "the indices of the class names begin at 1: they are taken in the order of their numbers"
        if len(indices) > 9:
            note += "; torchvision's ImageFolder has folders named so in the order of text (1, 10, 11, ...)"
        notes.append(note)
    return tuple(plain(str(name)) for _, name in sorted(pairs))


def plain(name: str) -> str:
    """A class name on one line."""
    return " ".join(_LINE_ENDS.split(name)).strip()


def _is_index(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdecimal())


def _name(item: object) -> str | None:
    """A name, or the last of several, as `["n01440764", "tench"]` has them."""
    if isinstance(item, list | tuple) and item and all(isinstance(part, str) for part in item):
        item = item[-1]
    return plain(str(item)) if isinstance(item, str | int | float) else None


def _from_lines(text: str, notes: list[str], path: Path) -> tuple[str, ...]:
    if (pairs := label_map(text)) is not None:
        return _in_order(pairs, notes)
    lines = [line.strip(" \t") for line in _LINE_ENDS.split(text)]
    while lines and not lines[-1]:
        lines.pop()
    names = [line for line in lines if line]
    if not names:
        return ()
    if blank := len(lines) - len(names):
        notes.append(f"{path} has {blank} blank lines between the names, which were passed over")
    found = read_lines(names, path)
    in_order = found.names if found.pairs is None else _in_order(found.pairs, notes)
    notes += [found.note] if found.note else []
    return in_order or ()


def _data(text: str, path: Path) -> Any:
    """What a file of JSON, YAML or a Python dictionary holds; None for lines of text."""
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _yaml(text, path)
    if (assigned := _ASSIGNED.fullmatch(text.strip())) is not None:
        text = assigned[1]  # of a Python or a TOML file
    if suffix != ".json" and not text.lstrip().startswith(("{", "[", "(")):
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        with contextlib.suppress(ValueError):
            return [json.loads(line) for line in _LINE_ENDS.split(text.strip()) if line]
        try:
            return ast.literal_eval(text.strip())  # as the list of ImageNet's classes goes around
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            if suffix != ".json":
                return None
        raise UsageError(f"{path} is not valid JSON: {error}") from None


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingDependency(
            "reading labels from YAML needs the package pyyaml, which is not installed",
            hint=install_packages("pyyaml"),
        ) from None
    try:
        return yaml.load(text, yaml.BaseLoader) or {}  # everything is text: a class may be called `no`
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _decoded(data: bytes, path: Path) -> tuple[str, list[str]]:
    """The text, and what has to be said of its encoding.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32"), []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16"), []
    if data.count(0) * _UTF_16_SHARE > len(data) and len(data) % 2 == 0:
        little = data[1::2].count(0) >= data[::2].count(0)
        text = data.decode("utf-16-le" if little else "utf-16-be")
        return text, [f"{path} was read as UTF-16"]
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        high = sum(byte >= 0x80 for byte in data)
        control = any(byte < 0x20 and byte not in b"\t\n\r\v\f" for byte in data)
        if control or 2 * high > len(data):
            raise error
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        return text, [f"{path} is not UTF-8, and was read as Latin-1: see whether the names are right"]


def _listed(items: Sequence[object]) -> str:
    shown = ", ".join(repr(item) if isinstance(item, str) else str(item) for item in items[:_LONGEST_SHOWN])
    return shown + (", ..." if len(items) > _LONGEST_SHOWN else "")
