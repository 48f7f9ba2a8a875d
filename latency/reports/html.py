"""A page of HTML as one file: no script, and nothing that is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from pinnace.latency.reports.charts import Figure
from pinnace.latency.reports.facts import Pairs
from pinnace.latency.reports.svg import Markup, tag, text

# The policy holds the page to what it promises: it runs nothing and fetches nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, content: Sequence[Markup]) -> str:
    """A whole page around its content."""
    style = files("pinnace.latency.reports").joinpath("style.css").read_text(encoding="utf-8")
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        tag("title", text(title)),
        tag("style", style),
    ]
    body = [part for part in content if part]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            *head,
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def table(rows: Pairs) -> Markup:
    """Names and what is known of them."""
    lines = [tag("tr", tag("th", text(name), scope="row"), tag("td", text(value))) for name, value in rows]
    return tag("table", tag("tbody", *lines), class_="facts")


def grid(head: Sequence[str], rows: Sequence[Sequence[Markup]]) -> Markup:
    """A table of figures whose first column is a name; the cells are markup."""
    top = tag("tr", *(tag("th", text(name), scope="col") for name in head))
    lines = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag(
        "div", tag("table", tag("thead", top), tag("tbody", *lines), class_="figures"), class_="scroll"
    )


def figure(drawn: Figure) -> Markup:
    """A picture with its words."""
    caption = tag("figcaption", tag("b", text(drawn.title)), text(drawn.caption))
    return tag("figure", caption, drawn.markup, class_=drawn.kind)


def contents(names: Sequence[str]) -> Markup:
    """Links to the sections `section-0` and so on."""
    links = [tag("li", tag("a", text(name), href=f"#section-{place}")) for place, name in enumerate(names)]
    return tag("nav", tag("ul", *links), class_="contents", aria_label="Contents")


def warnings(messages: Sequence[str]) -> Markup:
    """What a reader should know before the figures; nothing where there is nothing."""
    if not messages:
        return ""
    return tag("ul", *(tag("li", text(message)) for message in messages), class_="warnings")
