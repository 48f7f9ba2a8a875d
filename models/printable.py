"""Text from outside, made safe to be shown on a terminal."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    """Text in which what a terminal would obey, or not show, is written as Python writes it: `\\x1b`.

    The one place that decides it: for what the command line prints, for the lines of a log, and for what is
    known from a manifest, a file's name, a request or a server.

    Args:
        text: such as the name of a model.
        keep: characters that stay as they are, such as the line feeds of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)
