"""Many images through one function, one row for each; what cannot be read is passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from pinnace.cli.classify.row_formats import Finished, Outcome
from pinnace.clients.concurrency import in_order
from pinnace.clients.errors import NoAnswer, Refused
from pinnace.models.answer import Answer
from pinnace.models.errors import ImageError, PinnaceError, UsageError

# A slow image must not hold up the others; names and answers are small.
_AHEAD = 1024

# So many in a row, each tried several times, are no accident.
_MOST_WITHOUT_ANSWER = 20


@dataclass(frozen=True)
class Asked:
    """Somebody who answers.

    Attributes:
        answer: the answer to the image of a path; safe to call from several threads.
        concurrency: how many calls at once are worth while.
        patience: seconds that calls in work are waited for when the work ends early, or None for no limit.
    """

    answer: Callable[[str], Answer]
    concurrency: int = 1
    patience: float | None = None


@dataclass
class Tally:
    """What has become of the images.

    Attributes:
        labels: how many have which class as their most probable one.
        failed: how many are no image that can be read.
        unanswered: how many the server gave no answer to. They have no row: a second run asks for them again.
        asked: how many this run has asked for.
        written: how many rows this run has written.
        earlier: how many had their row before.
        made_by: the models and variants that answered before.
    """

    labels: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    unanswered: int = 0
    asked: int = 0
    written: int = 0
    earlier: int = 0
    made_by: set[tuple[str, str]] = field(default_factory=set)

    @property
    def all_well(self) -> bool:
        """Whether every image has an answer."""
        return not self.failed and not self.unanswered

    def check_same_model(self, answer: Answer) -> None:
        """Refuse to mix the answers of two models.

        Raises:
            UsageError: earlier rows are another model's, or another variant's.
        """
        made_by = (answer.model, answer.variant)
        if self.made_by and made_by not in self.made_by:
            raise UsageError(
                "the rows that are there already come from another model",
                expected=", ".join(sorted(" ".join(each) for each in self.made_by)),
                got=" ".join(made_by),
                hint="choose another file",
            )

    def count_earlier(self, finished: Finished) -> None:
        """Count a row that an earlier run wrote."""
        self.earlier += 1
        if finished.label is None:
            self.failed += 1
        else:
            self.labels[finished.label] += 1
        if finished.made_by is not None:
            self.made_by.add(finished.made_by)


def ask_for_each(
    asked: Asked,
    images: Iterable[str],
    *,
    tally: Tally,
    write: Callable[[str, Outcome], None],
    report: Callable[[str, PinnaceError], None],
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Ask for every image, and hand on each outcome in order.

    Args:
        asked: who answers.
        images: paths.
        tally: counts what happens.
        write: gets what is final: an answer, or the error of an image that cannot be read.
        report: gets every error, after `write`; what it raises ends the work.
        advance: called after each image.

    Raises:
        PinnaceError: what is wrong with more than one image: no such model, no server, twenty images in a row
            without an answer.
    """
    row_of_failures = 0
    outcomes = in_order(asked.answer, images, asked.concurrency, ahead=_AHEAD, patience=asked.patience)
    with closing(outcomes):
        for image, outcome in outcomes:
            tally.asked += 1
            if isinstance(outcome, Answer):
                row_of_failures = 0
                tally.check_same_model(outcome)
                write(image, outcome)
                tally.written += 1
                tally.labels[outcome.predictions[0].label] += 1
            elif _is_about_the_image(outcome):
                write(image, outcome)
                tally.written += 1
                tally.failed += 1
                report(image, outcome)
            elif _may_pass(outcome):
                row_of_failures += 1
                if row_of_failures == _MOST_WITHOUT_ANSWER:
                    raise outcome
                tally.unanswered += 1
                report(image, outcome)
            else:
                raise outcome
            advance()


def _is_about_the_image(error: PinnaceError) -> bool:
    return isinstance(error, ImageError) or (isinstance(error, Refused) and error.is_about_the_image)


def _may_pass(error: PinnaceError) -> bool:
    return isinstance(error, NoAnswer) or (isinstance(error, Refused) and error.may_pass)
