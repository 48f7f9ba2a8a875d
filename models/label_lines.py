"""Lines of text that hold class names: plain ones, numbered ones, columns, TensorFlow's label maps."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

Pairs = list[tuple[int, str]]

_BEHIND = r"(?:\s*[,;:=]\s*|[.)]\s+|\s+-\s+|\s+)"
_NUMBERED = re.compile(rf"(\d+)({_BEHIND})(\S.*)")
_NUMBERED_LAST = re.compile(r"(\S.*?)(?:\s*[,;:=]\s*|\s+)(\d+)")
_SEPARATORS = ("\t", ";", ",")
_NAME_HEADINGS = (
    "name",
    "label",
    "class_name",
    "classname",
    "label_name",
    "class",
    "category",
    "display_name",
)
_INDEX_HEADINGS = ("id", "index", "idx", "class_id", "class_index", "label_id", "label_index", "number")
_MAP_ITEM = re.compile(r"\bitem\s*\{(.*?)\}", re.DOTALL)
_MAP_ID = re.compile(r"\bid\s*:\s*(\d+)")
_MAP_NAMES = (
    re.compile(r"\bdisplay_name\s*:\s*([\"'])(.*?)\1"),
    re.compile(r"\bname\s*:\s*([\"'])(.*?)\1"),
)


@dataclass(frozen=True)
class Lines:
    """What lines of text hold.

    Attributes:
        names: as they stand there; None where `pairs` has them.
        pairs: index and name; they may lack an index, or have one twice.
        note: what was made of the lines, for the user; None where they are plain.
    """

    names: tuple[str, ...] | None = None
    pairs: Pairs | None = None
    note: str | None = None


def label_map(text: str) -> Pairs | None:
    """Index and name of each item of a label map of TensorFlow's (`.pbtxt`), or None."""
    pairs = []
    for body in _MAP_ITEM.findall(text):
        index = _MAP_ID.search(body)
        names = [match[2] for each in _MAP_NAMES if (match := each.search(body))]
        if index is None or not names:
            return None
        pairs.append((int(index[1]), names[0]))
    return pairs or None


def read_lines(lines: Sequence[str], path: object) -> Lines:
    """Class names in lines of text, none of which is blank.

    Lines with an index before or behind the name, in columns or not, are taken for it only where it reads
    like one: where every line has one, they are whole, and the names without them differ.

    Args:
        lines: without spaces at their ends.
        path: the file, for notes.
    """
    if len(lines) == 1 and "," in lines[0]:
        names = [_bare(name) for name in next(csv.reader(lines, skipinitialspace=True))]
        if len(names) > 1 and not names[0].isdecimal():
            return Lines(tuple(names), note=f"the one line of {path} was split at its commas")
    if (pairs := _columns(lines)) is not None:
        return Lines(pairs=pairs, note=f"a column of {path} was taken for the indices")
    if (pairs := _numbered(lines)) is not None:
        note = f"the numbers at the beginning of the lines of {path} were taken for the indices"
        return Lines(pairs=pairs, note=note)
    if (pairs := _numbered_last(lines)) is not None:
        return Lines(
            pairs=pairs, note=f"the numbers at the end of the lines of {path} were taken for the indices"
        )
    bare = tuple(_bare(line) for line in lines)
    return Lines(bare if all(one != line for one, line in zip(bare, lines, strict=True)) else tuple(lines))


def _columns(lines: Sequence[str]) -> Pairs | None:
    """Rows of more than two columns, with a heading, or with the index behind the name."""
    for separator in _SEPARATORS:
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
        if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
            continue
        heading = [cell.strip().lower().replace(" ", "_") for cell in rows[0]]
        headed = any(cell in (*_NAME_HEADINGS, *_INDEX_HEADINGS) for cell in heading)
        body = rows[1:] if headed else rows
        columns = list(zip(*body, strict=True))
        numbers = [all(cell.strip().isdecimal() for cell in column) for column in columns]
        of_index = [place for place, column in enumerate(columns) if numbers[place] and _counts(column)]
        of_index = of_index or [
            place
            for place, cell in enumerate(heading)
            if headed and numbers[place] and cell in _INDEX_HEADINGS
        ]
        if not body or not of_index or (not headed and len(heading) == 2 and of_index[0] == 0):
            continue  # lines that begin with their index are read as such, whatever is behind it
        named = [place for place, cell in enumerate(heading) if headed and cell in _NAME_HEADINGS]
        others = [place for place in range(len(columns)) if place != of_index[0]]
        words = [place for place in others if not numbers[place]]
        place = next((place for place in named if place in others), (words or others)[-1])
        pairs = [(int(row[of_index[0]]), _bare(row[place])) for row in body]
        if headed or _all_differ(pairs):
            return pairs
    return None


def _counts(column: Sequence[str]) -> bool:
    """Whether numbers are 0, 1, 2 and so on, or begin at 1, in whatever order."""
    numbers = sorted(map(int, column))
    return numbers[0] < 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _numbered(lines: Sequence[str]) -> Pairs | None:
    """`0 cat`, `0: cat`, `0) cat`, `0 - cat`; not `1 cent` and `5 cents`, nor `1 star` and `2 stars`."""
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    indices = [int(match[1]) for match in matches]
    if len(matches) != len(lines) or min(indices) > 1 or len({*indices}) != len(indices):
        return None
    pairs = [(int(match[1]), _bare(match[3].rstrip(","))) for match in matches]
    counts = all(not match[2].strip() for match in matches) and indices[0] == 1
    if counts and not (_counts([match[1] for match in matches]) and _all_differ(pairs)):
        return None
    return pairs


def _numbered_last(lines: Sequence[str]) -> Pairs | None:
    """`cat 0`, `cat: 0`; not `class 0` and `class 1`."""
    matches = [match for line in lines if (match := _NUMBERED_LAST.fullmatch(line))]
    if len(matches) != len(lines) or len(lines) < 2 or not _counts([match[2] for match in matches]):
        return None
    pairs = [(int(match[2]), _bare(match[1])) for match in matches]
    return pairs if _all_differ(pairs) and min(pairs)[0] == 0 else None


def _all_differ(pairs: Pairs) -> bool:
    return len({name for _, name in pairs}) == len(pairs)


def _bare(name: str) -> str:
    """A name without the quotation marks around it."""
    name = name.strip()
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] and name[0] in "\"'" else name
