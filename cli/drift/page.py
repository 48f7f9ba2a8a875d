"""A comparison of answers as a page of HTML: the shares of each bin side by side."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.cli.drift.compare import Feature
from pinnace.cli.drift.stability import CONFIDENCE, RESAMPLES
from pinnace.latency.reports.chart import drawing, words
from pinnace.latency.reports.charts import WIDE, Figure, cut, legend_of, twice
from pinnace.latency.reports.html import contents, document, figure, grid, warnings
from pinnace.latency.reports.scale import Scale, fit
from pinnace.latency.reports.svg import Markup, tag, text

VERDICTS = {"drift": "drift", "perhaps": "perhaps, with too few images to say", "same": "no drift"}

_METHOD = (
    "The population stability index is the sum over the bins of (q - p) ln(q / p), with p and q the shares "
    f"in the reference and in the record. Its {CONFIDENCE:.0%} interval is SciPy's basic bootstrap of "
    f"{RESAMPLES} resamples. Drift is what has the whole interval above the threshold."
)
HEAD = ("", "verdict", "stability index", f"{CONFIDENCE:.0%} interval", "threshold", "median before", "now")

_LINE, _BAR = 34, 11


def render(
    names: tuple[str, str], counts: tuple[int, int], features: Sequence[Feature], notes: Sequence[str]
) -> str:
    """The page.

    Args:
        names: of the reference, and of what is compared with it.
        counts: how many answers each has.
        features: what was compared.
        notes: what a reader should know.
    """
    title = f"{names[1]} against {names[0]}"
    under = f"{counts[1]:,} answers against {counts[0]:,}. {_METHOD}"
    content = [
        tag("h1", text(title)),
        tag("p", text(under), class_="under"),
        warnings(notes),
        _figures(features),
    ]
    content.append(contents([each.words for each in features]))
    for place, each in enumerate(features):
        content += [
            tag("h2", text(each.words.capitalize()), id=f"section-{place}"),
            figure(_bars(each, names)),
        ]
    return document(title, content)


def _figures(features: Sequence[Feature]) -> Markup:
    rows = [[text(cell) for cell in cells(each)] for each in features]
    return grid(HEAD, rows)


def cells(feature: Feature) -> tuple[str, ...]:
    """A feature as cells of a table: name, verdict, index, interval, threshold, and medians."""
    found = feature.stability
    medians = ("", "") if feature.medians is None else tuple(f"{value:,.4g}" for value in feature.medians)
    return (
        feature.words,
        VERDICTS[feature.verdict],
        f"{found.index:.3f}",
        f"{found.low:.3f} to {found.high:.3f}",
        f"{feature.threshold:g}",
        *medians,
    )


def _bars(feature: Feature, names: tuple[str, str]) -> Figure:
    """For each bin its share in both samples, as two bars."""
    shares = feature.binned.shares
    every = [float(share) for sample in shares for share in sample]

    def draw(width: int) -> Markup:
        room = 230 if width == WIDE else 120
        x = fit(every, room, width - 60, zero=True)
        marks: list[Markup] = []
        for place, (name, *pair) in enumerate(zip(feature.binned.names, *shares, strict=True)):
            top = 8 + place * _LINE
            marks.append(words(cut(name, room // 7), room - 8, top + 15, "tick", "end"))
            for series, share in enumerate(map(float, pair)):
                title = f"{name}, {names[series]}: {share:.2%}"
                marks += _bar(x, share, top + series * _BAR, series, title)
        height = 16 + len(feature.binned.names) * _LINE
        return drawing(width, height, f"Shares of {feature.words}", *marks)

    caption = "Bins have about as many answers each, of both together; classes that are rare share some."
    return twice("bars", "Share of the answers in each bin", caption, draw, legend_of(names))


def _bar(x: Scale, share: float, top: float, series: int, title: str) -> list[Markup]:
    end = x(share)
    bar = tag(
        "rect",
        tag("title", text(title)),
        x=x.start,
        y=top,
        width=max(0.5, end - x.start),
        height=_BAR - 1,
        class_=f"area s{series}",
    )
    return [bar, words(f"{share:.1%}", end + 4, top + _BAR - 2, "tick")]
