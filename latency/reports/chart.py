"""One panel of a picture: axes, a grid, and what is drawn in it. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.reports.scale import Scale, label
from pinnace.latency.reports.svg import Markup, path, tag, text

SERIES = 8  # colours and dashes in `style.css`


class Panel:
    """A rectangle with two scales, into which marks are put."""

    def __init__(self, x: Scale, y: Scale) -> None:
        """Of two scales, whose places are the edges; y runs upwards, from `start` at the foot."""
        self.x, self.y = x, y
        self._below: list[Markup] = []
        self._marks: list[Markup] = []

    def axes(self, x_label: str | None, y_label: str, *, x_ticks: int = 6, y_ticks: int = 5) -> None:
        """Draw the grid with its values; without `x_label` the x axis has no values."""
        left, right, foot, head = self.x.start, self.x.end, self.y.start, self.y.end
        for value in self.y.ticks(y_ticks):
            at = self.y(value)
            self._below.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
            self._below.append(words(label(value), left - 6, at + 4, "tick", "end"))
        for value in self.x.ticks(x_ticks):
            at = self.x(value)
            self._below.append(tag("line", x1=at, x2=at, y1=foot, y2=head, class_="grid"))
            if x_label is not None:
                self._below.append(words(label(value), at, foot + 16, "tick", "middle"))
        self._below.append(tag("line", x1=left, x2=right, y1=foot, y2=foot, class_="axis"))
        self._below.append(words(y_label, 2, head - 10, "name"))
        if x_label is not None:
            self._below.append(words(x_label, right, foot + 32, "name", "end"))

    def x_axis(self, x_label: str, x_ticks: int = 6) -> None:
        """Draw the x axis alone, for marks that stand in lines of their own."""
        foot, head = self.y.start, self.y.end
        for value in self.x.ticks(x_ticks):
            at = self.x(value)
            self._below.append(tag("line", x1=at, x2=at, y1=foot, y2=head, class_="grid"))
            self._below.append(words(label(value), at, foot + 16, "tick", "middle"))
        self._below.append(tag("line", x1=self.x.start, x2=self.x.end, y1=foot, y2=foot, class_="axis"))
        self._below.append(words(x_label, self.x.end, foot + 32, "name", "end"))

    def x_values(self, values: Sequence[tuple[float, str]], x_label: str) -> None:
        """Write values of its own under the x axis."""
        for value, content in values:
            self._below.append(words(content, self.x(value), self.y.start + 16, "tick", "middle"))
        self._below.append(words(x_label, self.x.end, self.y.start + 32, "name", "end"))

    def hover(self, low: float, high: float, title: str) -> None:
        """Say something of what lies between two values of the x axis, where the pointer rests on it."""
        left, right = self.x(low), self.x(high)
        tooltip = tag("title", text(title))
        height = self.y.start - self.y.end
        self._marks.append(
            tag("rect", tooltip, x=left, y=self.y.end, width=right - left, height=height, class_="hit")
        )

    def line(self, points: Sequence[tuple[float, float]], series: int = 0, kind: str = "") -> None:
        """Draw a line through values."""
        places = [(self.x(x), self.y(y)) for x, y in points]
        self._marks.append(tag("path", d=path(places), class_=f"line {kind} s{series % SERIES}"))

    def area(self, points: Sequence[tuple[float, float]], series: int = 0) -> None:
        """Fill what lies between a line and the foot."""
        places = [(self.x(x), self.y(y)) for x, y in points]
        ends = [(places[-1][0], self.y.start), (places[0][0], self.y.start)]
        self._marks.append(tag("path", d=path(places + ends, closed=True), class_=f"area s{series % SERIES}"))

    def spans(self, spans: Sequence[tuple[float, float, float]], series: int = 0) -> None:
        """Draw upright strokes: x, lowest y, highest y. One of no length is a dot."""
        d = "".join(
            f"M{self.x(x):.1f} {self.y(low):.1f}V{min(self.y(high), self.y(low) - 0.01):.2f}"
            for x, low, high in spans
        )
        self._marks.append(tag("path", d=d, class_=f"span s{series % SERIES}"))

    def dot(
        self, x: float, y: float, series: int, title: str, *, hollow: bool = False, small: bool = False
    ) -> None:
        """Draw a dot with a tooltip."""
        tooltip = tag("title", text(title))
        kind = "hollow" if hollow else "dot"
        self._marks.append(
            tag(
                "circle",
                tooltip,
                cx=self.x(x),
                cy=self.y(y),
                r=2.5 if small else 4,
                class_=f"{kind} s{series % SERIES}",
            )
        )

    def upright(self, x: float, content: str, row: int = 0) -> None:
        """Mark a value on the x axis by a line with words beside it."""
        at = self.x(x)
        self._marks.append(tag("line", x1=at, x2=at, y1=self.y.start, y2=self.y.end, class_="mark"))
        side, shift = ("end", -4) if at > self.x.end - 80 else ("start", 4)
        self._marks.append(words(content, at + shift, self.y.end + 10 + 14 * row, "value", side))

    def level(self, y: float, content: str) -> None:
        """Mark a value on the y axis."""
        at = self.y(y)
        self._marks.append(tag("line", x1=self.x.start, x2=self.x.end, y1=at, y2=at, class_="mark"))
        self._marks.append(words(content, self.x.start + 4, at - 4))

    def markup(self) -> Markup:
        """The panel as a group."""
        return tag("g", *self._below, *self._marks)


def words(content: str, x: float, y: float, kind: str = "value", side: str = "start") -> Markup:
    """Text at a place."""
    return tag("text", text(content), x=x, y=y, class_=kind, text_anchor=side)


def drawing(width: int, height: float, name: str, *content: Markup) -> Markup:
    """A whole picture; `name` is what a screen reader says."""
    return tag(
        "svg",
        tag("title", text(name)),
        *content,
        viewBox=f"0 0 {width} {round(height)}",
        width=width,
        height=round(height),
        role="img",
        class_="wide" if width > 400 else "narrow",
    )
