"""`pinnace drift`: whether what a server is asked, and answers, has changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.cli.options import Json, RecordedModelOption, SinceOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinnace.cli.drift.compare import Feature
    from pinnace.models.records.observations import Observations
    from pinnace.models.records.reading import RowFilter


def drift(
    record: Annotated[
        str,
        typer.Argument(
            help="A record of pinnace serve --record: a folder or a URL.",
            metavar="RECORD",
            show_default=False,
        ),
    ],
    against: Annotated[
        str,
        typer.Option(
            help="The reference: another record, or a bundle that was exported with --images or --calibrate. "
            "With --since also the same record, before then.",
            metavar="RECORD|BUNDLE",
            show_default=False,
        ),
    ],
    model: RecordedModelOption = None,
    since: SinceOption = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help="Drift is a stability index above this with its whole interval: a number, or one for a "
            "feature, such as classes=0.2; repeatable.",
            metavar="[FEATURE=]X",
            show_default="0.1",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page of HTML with charts.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Compare recorded answers with a reference: classes, confidence, sizes and brightness.

    Exit status: 0 no drift, 1 drift, 2 usage.
    """
    from pinnace.cli.console import print_json, print_note
    from pinnace.cli.drift import page
    from pinnace.cli.drift.compare import FEWEST, compare
    from pinnace.cli.drift.moments import parse_moment
    from pinnace.latency.reports.write import check_ending, write_text
    from pinnace.models.errors import CheckFailed
    from pinnace.models.file_stores import absolute
    from pinnace.models.records.reading import RowFilter, read_observations

    if report is not None:
        check_ending(report, (".html",), "a page")
    limits = _thresholds(threshold or [])
    start = None if since is None else parse_moment(since)
    same = absolute(record) == absolute(against)
    _check_different(same, since)
    now = read_observations(record, RowFilter(model, since=start))
    first, labels = _reference(against, RowFilter(model, until=start if same else None))
    features = compare(first, now, limits, labels)
    names = (f"{against} before" if same else against, f"{record} since {since}" if since else record)
    notes = [
        f"{name} has {len(rows)} answers; with fewer than {FEWEST}, only a large drift is seen"
        for name, rows in zip(names, (first, now), strict=True)
        if len(rows) < FEWEST
    ]
    if report is not None:
        write_text(report, page.render(names, (len(first), len(now)), features, notes))
    if json:
        print_json(_as_json(names, (len(first), len(now)), features))
    else:
        _print(names, (len(first), len(now)), features)
    for note in notes:
        print_note(note)
    found = [each for each in features if each.verdict == "drift"]
    if found:
        raise CheckFailed(
            f"{len(found)} of {len(features)} features {'has' if len(found) == 1 else 'have'} drifted",
            expected="a stability index of at most "
            + ", ".join(f"{each.threshold:g} of {each.name}" for each in found),
            got=", ".join(f"{each.stability.low:.3f} to {each.stability.high:.3f}" for each in found),
        )


def _check_different(same: bool, since: str | None) -> None:
    from pinnace.models.errors import UsageError

    if same and since is None:
        raise UsageError(
            "the record is compared with itself",
            hint="say from when on it is meant, --since 24h, or name another --against",
        )


def _thresholds(typed: Sequence[str]) -> dict[str, float]:
    from pinnace.cli.drift.compare import NAMES
    from pinnace.models.errors import UsageError

    found: dict[str, float] = {}
    for each in sorted(typed, key=lambda text: "=" in text):
        name, equals, number = each.rpartition("=")
        try:
            value = float(number)
            if not value > 0 or (equals and name not in NAMES):
                raise ValueError
        except ValueError:
            raise UsageError(
                "that is no threshold",
                expected=f"a number above 0, or one for {', '.join(NAMES)}, such as classes=0.2",
                got=each,
            ) from None
        found.update({name: value} if equals else dict.fromkeys(NAMES, value))
    return found


def _reference(against: str, chosen: RowFilter) -> tuple[Observations, tuple[str, ...]]:
    """The reference, and all labels of its model where these are known."""
    from pinnace.models.bundle.anywhere import open_bundle_at
    from pinnace.models.records import reference
    from pinnace.models.records.reading import read_observations

    if not _is_bundle(against):
        return read_observations(against, chosen), ()
    bundle = open_bundle_at(against)
    return reference.read(bundle), bundle.labels


def _is_bundle(place: str) -> bool:
    """Whether a place is a bundle, or is to be one where it is no record."""
    from pinnace.models.bundle import manifest
    from pinnace.models.records.reading import is_record
    from pinnace.models.urls import is_uri, split_scheme

    if not is_uri(place):
        return (Path(place) / manifest.FILE_NAME).is_file()
    return split_scheme(place)[0] in ("http", "https", "hf") or not is_record(place)


def _as_json(names: tuple[str, str], counts: tuple[int, int], features: Sequence[Feature]) -> dict[str, Any]:
    return {
        "reference": {"name": names[0], "answers": counts[0]},
        "record": {"name": names[1], "answers": counts[1]},
        "drift": any(each.verdict == "drift" for each in features),
        "features": [
            {
                "name": each.name,
                "verdict": each.verdict,
                "stability_index": each.stability.index,
                "interval": [each.stability.low, each.stability.high],
                "threshold": each.threshold,
                "medians": each.medians,
                "bins": [
                    {"name": name, "reference": float(before), "record": float(after)}
                    for name, before, after in zip(each.binned.names, *each.binned.shares, strict=True)
                ],
            }
            for each in features
        ],
    }


def _print(names: tuple[str, str], counts: tuple[int, int], features: Sequence[Feature]) -> None:
    from pinnace.cli.console import out, plain
    from pinnace.cli.drift.page import HEAD, cells
    from pinnace.cli.tables import Column, numbers, print_table

    out().print(
        f"{plain(names[1])}, {counts[1]:,} answers, against {plain(names[0])}, {counts[0]:,}", soft_wrap=True
    )
    columns = (Column(), Column(HEAD[1], wraps=True), *numbers(*HEAD[2:]))
    print_table(out(), columns, [tuple(map(plain, cells(each))) for each in features])
