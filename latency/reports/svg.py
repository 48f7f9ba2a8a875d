"""Elements of SVG and HTML as text, in which nothing that is not ours can be markup."""

from __future__ import annotations

import html

Markup = str


def text(value: object) -> Markup:
    """Text that shows as it is: escaped, and without control characters."""
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))
    return html.escape(plain)


def tag(name: str, /, *children: Markup, **attributes: object) -> Markup:
    """An element. Children are markup, attributes are not; `class_` is `class`, `stroke_width` a hyphen."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(children)}</{name}>"


def path(points: list[tuple[float, float]], *, closed: bool = False) -> str:
    """The `d` of a line through points."""
    steps = " ".join(f"{'L' if i else 'M'}{_short(x)} {_short(y)}" for i, (x, y) in enumerate(points))
    return steps + ("Z" if closed else "")


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
