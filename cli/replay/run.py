"""Asks again about recorded pictures, and counts what another model would have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from pinnace.cli.classify.job import is_about_the_image
from pinnace.models.answer import Answer, Prediction
from pinnace.models.concurrency import map_in_order
from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.records.reading import RowFilter, read_images, read_tables, several_models

# Of so many pictures whose first class changes the bytes are kept, to be shown.
MOST_SHOWN = 200


@dataclass(frozen=True)
class Recorded:
    """What was answered for a picture, the last time.

    Attributes:
        model: the model's name.
        version: of its bundle.
        variant: what answered.
        first: the most probable class.
    """

    model: str
    version: str
    variant: str
    first: Prediction


@dataclass(frozen=True)
class Flip:
    """A picture whose first class is another one now.

    Attributes:
        sha256: of the picture.
        before: what was answered.
        after: what would be answered.
        image: its bytes; None of those that are not shown.
    """

    sha256: str
    before: Prediction
    after: Prediction
    image: bytes | None


@dataclass
class Replay:
    """What became of the pictures.

    Attributes:
        pictures: how many were asked about.
        failed: how many of them cannot be read now.
        flips: those with another first class, in the order of the record.
        before: what had answered, with the number of pictures.
        after: what answers now.
        moved: by how much the score of the recorded first class differs, for each picture that has it among
            its answers now.
    """

    pictures: int = 0
    failed: int = 0
    flips: list[Flip] = field(default_factory=list)
    before: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    after: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    moved: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many pictures have an answer now."""
        return self.pictures - self.failed

    @property
    def pairs(self) -> list[tuple[str, str, int]]:
        """The changes of the first class, from, to and how many, the most frequent first."""
        counts = Counter((flip.before.label, flip.after.label) for flip in self.flips)
        return [(*pair, count) for pair, count in counts.most_common()]


def recorded_answers(place: str, chosen: RowFilter) -> dict[str, Recorded]:
    """The last answer for each picture of a record, by its SHA-256.

    Raises:
        UsageError: it is no record, has no answers with classes, or has those of several models.
    """
    found: dict[str, Recorded] = {}
    for table in read_tables(place, chosen, ("version", "variant", "sha256", "predictions")):
        for row in table.to_pylist():
            if row["predictions"]:
                first = row["predictions"][0]
                prediction = Prediction(first["label"], first["index"], first["probability"] or 0.0)
                found[row["sha256"]] = Recorded(row["model"], row["version"], row["variant"], prediction)
    models = {one.model for one in found.values()}
    if len(models) > 1:
        raise several_models(place, models)
    if not found:
        raise UsageError(f"the record {place} has no answers that could be compared")
    return found


def replay(
    place: str,
    answers: dict[str, Recorded],
    ask: Callable[[bytes], Answer],
    *,
    concurrency: int,
    limit: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Replay:
    """Ask about the pictures that a record has kept.

    Args:
        place: the record.
        answers: what was answered; see `recorded_answers`.
        ask: gives the answer to encoded bytes; safe to call from several threads.
        concurrency: calls at once.
        limit: the most pictures.
        advance: called after each picture.

    Raises:
        UsageError: the record has kept none of the pictures.
        PinnaceError: what is wrong with more than one picture.
    """
    result = Replay()
    images: Iterator[tuple[str, bytes]] = islice(read_images(place, answers.__contains__), limit)
    with closing(map_in_order(lambda item: ask(item[1]), images, concurrency, join_timeout=1.0)) as outcomes:
        for (name, data), outcome in outcomes:
            result.pictures += 1
            if isinstance(outcome, PinnaceError):
                if not is_about_the_image(outcome):
                    raise outcome
                result.failed += 1
            else:
                _count(result, name, data, answers[name], outcome)
            advance()
    if not result.pictures:
        raise UsageError(
            f"the record {place} has kept no pictures",
            hint="a server keeps them with: pinnace serve BUNDLE --record DIR --record-images",
        )
    return result


def _count(result: Replay, name: str, data: bytes, before: Recorded, answer: Answer) -> None:
    result.before[before.model, before.version, before.variant] += 1
    result.after[answer.model, answer.version, answer.variant] += 1
    scores = {one.label: one.probability for one in answer.predictions}
    if before.first.label in scores:
        result.moved.append(abs(scores[before.first.label] - before.first.probability))
    after = answer.predictions[0]
    if after.label != before.first.label:
        shown = len(result.flips) < MOST_SHOWN
        result.flips.append(Flip(name, before.first, after, data if shown else None))
