"""Tables for a terminal of any width, in which no name and no number is cut.

What does not fit side by side is wrapped between words; what does not fit even so is stacked: a heading for
each row, and below it its cells with their names. Columns without content are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_GAP = 2
_LEAST_PROSE = 24
_INDENT = "  "


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading; where no column has one, there is no line of headings.
        right: whether its cells end at the same place, as numbers do.
        wraps: whether its cells are prose or lists, which may go on in the next line.
    """

    name: str = ""
    right: bool = False
    wraps: bool = False


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(name, right=True) for name in names)


def texts(*names: str) -> tuple[Column, ...]:
    """Columns of names and words."""
    return tuple(map(Column, names))


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table.

    Args:
        console: where to; its width decides on the layout.
        columns: the columns.
        rows: for each row as many cells as there are columns, with rich's markup; see `plain`.
    """
    cells = [[Text.from_markup(cell) for cell in row] for row in rows]
    kept = [at for at in range(len(columns)) if any(row[at].plain.strip() for row in cells)]
    if not kept:
        return
    for line in lay_out(
        [columns[at] for at in kept], [[row[at] for at in kept] for row in cells], console.width
    ):
        console.print(line, soft_wrap=True)


def lay_out(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[Text]:
    """The lines of a table, side by side where that has room and else stacked."""
    widths = _widths(columns, cells, width)
    lines = _stacked(columns, cells, width) if widths is None else _beside(columns, cells, widths)
    for line in lines:
        line.rstrip()
    return lines


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Text]], most: int) -> list[int] | None:
    """The columns' widths, or None where they have no room side by side."""
    least, wished = [], []
    for at, column in enumerate(columns):
        heading = Text(column.name)
        found = [row[at] for row in cells]
        whole = max(map(_longest_line, [heading, *found]))
        word = max(map(_longest_word if column.wraps else _longest_line, found))
        if column.wraps:
            word = max(word, min(_LEAST_PROSE, whole))
        least.append(max(word, _longest_word(heading)))
        wished.append(whole)
    left = most - sum(least) - _GAP * (len(columns) - 1)
    if left < 0:
        return None
    widths = list(least)
    # What lacks little is made whole first, so that prose gives way and headings do not.
    for at in sorted(range(len(columns)), key=lambda at: wished[at] - least[at]):
        more = min(wished[at] - least[at], left)
        widths[at] += more
        left -= more
    return widths


def _longest_line(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n", allow_blank=True)), default=0)


def _longest_word(text: Text) -> int:
    return max((cell_len(word) for word in text.plain.split()), default=0)


def _wrapped(text: Text, width: int) -> list[Text]:
    """Lines of at most this width, broken between words; a word that is longer stands whole in its line."""
    lines: list[Text] = []
    for whole in text.split("\n", allow_blank=True):
        breaks, start = [], 0
        for word in re.finditer(r"\S+", whole.plain):
            if cell_len(whole.plain[start : word.end()]) > width and word.start() > start:
                start = word.start()
                breaks.append(start)
        lines += whole.divide([each for each in breaks if each])
    for line in lines:
        line.rstrip()
    return lines


def _beside(columns: Sequence[Column], cells: Sequence[Sequence[Text]], widths: list[int]) -> list[Text]:
    named = any(column.name for column in columns)
    headings = [[Text(column.name, style="dim") for column in columns]] if named else []
    lines = []
    for row in [*headings, *cells]:
        parts = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, parts))):
            line = Text()
            for column, part, width in zip(columns, parts, widths, strict=True):
                piece = part[number] if number < len(part) else Text()
                space = " " * (width - piece.cell_len)
                line.append_text(Text.assemble(space, piece) if column.right else Text.assemble(piece, space))
                line.append(" " * _GAP)
            lines.append(line)
    return lines


def _stacked(columns: Sequence[Column], cells: Sequence[Sequence[Text]], most: int) -> list[Text]:
    width = most - len(_INDENT)
    lines = []
    for heading, *row in cells:
        first = heading.copy()
        first.stylize("bold")
        lines += _wrapped(first, most)
        line = Text()
        for column, cell in zip(columns[1:], row, strict=True):
            if not cell.plain.strip():
                continue
            value = Text(", ").join(cell.split("\n"))
            piece = Text.assemble((f"{column.name} " if column.name else "", "dim"), value)
            if line and line.cell_len + _GAP + piece.cell_len > width:
                lines += _indented(line, width)
                line = Text()
            line = Text.assemble(line, " " * _GAP, piece) if line else piece
        lines += _indented(line, width) if line else []
    return lines


def _indented(line: Text, width: int) -> list[Text]:
    return [Text.assemble(_INDENT, part) for part in _wrapped(line, width)]
