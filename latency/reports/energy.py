"""The energy of rows, as cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.numbers import number
from pinnace.latency.result import Result

HEAD = (
    "",
    "sensor",
    "J an image",
    "J an image, above idle",
    "images a joule",
    "drawn, W",
    "idle, W",
    "covers",
)


def cells(rows: Sequence[Result]) -> list[list[str]]:
    """A line for each sensor of each row."""
    return [
        [
            f"{row.row}, {row.scenario}",
            each.sensor,
            number(each.image_j),
            number(each.image_above_idle_j),
            number(each.images_a_joule),
            number(each.joules / each.seconds),
            number(each.idle_w),
            each.covers,
        ]
        for row in rows
        for each in row.energy
    ]


METHOD = (
    "Energy from the start of the load to its end. Idle is what the same sensor said for three seconds "
    "before anything was loaded; above idle, that power is taken off for the whole time."
)
