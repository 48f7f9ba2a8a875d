"""What a replay has changed as a page of HTML, with the pictures."""

from __future__ import annotations

import base64
import io

from PIL import Image

from pinnace.cli.replay.run import MOST_SHOWN, Flip, Replay
from pinnace.latency.reports.html import document, grid, warnings
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.models.answer import Prediction
from pinnace.models.errors import ImageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.pixels import eight_bit, orientation, upright

_EDGE = 160
_MOST_PAIRS = 50


def render(record: str, other: str, result: Replay) -> str:
    """The page.

    Args:
        record: what was replayed.
        other: what was asked.
        result: what came of it.
    """
    flips = len(result.flips)
    content = [
        tag("h1", text(f"{other} on the pictures of {record}")),
        tag("p", text(summary(result)), class_="under"),
        warnings([f"{result.failed} pictures cannot be read there"] if result.failed else []),
        grid(("answers", "", "pictures"), [*_who("recorded", result.before), *_who("now", result.after)]),
    ]
    if flips:
        rows = [[text(one), text(two), text(f"{count:,}")] for one, two, count in result.pairs[:_MOST_PAIRS]]
        content += [tag("h2", text("Which classes change")), grid(("from", "to", "pictures"), rows)]
        content.append(tag("h2", text("The pictures")))
        if flips > MOST_SHOWN:
            content.append(tag("p", text(f"The first {MOST_SHOWN} of {flips:,}."), class_="under"))
        content.append(_gallery(result))
    return document(f"{other} on {record}", content)


def summary(result: Replay) -> str:
    """How much changes, in a sentence."""
    answered, flips = result.answered, len(result.flips)
    share = f" ({flips / answered:.1%})" if answered else ""
    said = f"{flips:,} of {answered:,} pictures{share} get another first class"
    if result.moved:
        mean = sum(result.moved) / len(result.moved)
        said += (
            f"; the score of the recorded one moves by {mean:.3f} on average, {max(result.moved):.3f} at most"
        )
    return said + "."


def _who(when: str, counts: dict[tuple[str, str, str], int]) -> list[list[Markup]]:
    return [[text(when), text(" ".join(who)), text(f"{count:,}")] for who, count in counts.items()]


def _gallery(result: Replay) -> Markup:
    """The pictures beside each other, those with the same change together, with both answers below each."""
    place = {(one, two): number for number, (one, two, _) in enumerate(result.pairs)}
    shown = [flip for flip in result.flips if flip.image is not None]
    shown.sort(key=lambda flip: place[flip.before.label, flip.after.label])
    return tag("div", *map(_card, shown), class_="gallery")


def _card(flip: Flip) -> Markup:
    assert flip.image is not None
    before, after = _said("recorded", flip.before), _said("now", flip.after)
    return tag("figure", _thumbnail(flip.image, flip.sha256), tag("figcaption", before, after))


def _said(when: str, prediction: Prediction) -> Markup:
    return text(when) + tag("b", text(f"{prediction.label} {prediction.probability:.1%}"))


def _thumbnail(data: bytes, name: str) -> Markup:
    """A picture, small, as part of the page."""
    try:
        image = open_image(data)
        small = upright(eight_bit(image, "RGB"), orientation(image))
    except ImageError:
        return text("cannot be read")
    small.thumbnail((_EDGE, _EDGE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return tag("img", src=source, alt=name, title=name, width=small.width, height=small.height)
