"""Many images through one backend, an outcome for each; images that cannot be read are skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from pinnace.cli.classify.row_formats import Finished, Result
from pinnace.clients.errors import NoAnswer, Refused
from pinnace.models.answer import Answer, Embedding
from pinnace.models.concurrency import map_in_order
from pinnace.models.errors import ImageError, PinnaceError, UsageError

R = TypeVar("R")

Outcomes: TypeAlias = "Generator[tuple[str, R | PinnaceError], None, None]"

# A slow image must not hold up the others; names and answers are small.
AHEAD = 1024

# When so many in a row fail, each tried several times, the server is down.
_MOST_UNANSWERED_IN_A_ROW = 20


@dataclass(frozen=True)
class Backend(Generic[Result]):
    """What answers for an image: a server or a bundle.

    Attributes:
        answer: the answer to the image of a path; safe to call from several threads.
        concurrency: how many calls at once are worth while.
        join_timeout: seconds to wait for calls in flight when the work ends early, or None for no limit.
        many: each image with its answer or its error, in order; in threads that call `answer` by default.
    """

    answer: Callable[[str], Result]
    concurrency: int = 1
    join_timeout: float | None = None
    many: Callable[[Iterable[str]], Outcomes[Result]] | None = None


@dataclass
class Tally:
    """What has become of the images.

    Attributes:
        answered: how many have an answer.
        labels: how many have which label: the most probable class, or each that reaches the threshold.
        failed: how many cannot be read as an image.
        unanswered: how many the server did not answer. They have no row, so a second run sends them again.
        attempted: how many this run has tried.
        written: how many rows this run has written.
        earlier: how many had their row before.
        made_by: the models and variants that answered before.
    """

    answered: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    unanswered: int = 0
    attempted: int = 0
    written: int = 0
    earlier: int = 0
    made_by: set[tuple[str, str]] = field(default_factory=set)

    @property
    def all_answered(self) -> bool:
        """Whether every image has an answer."""
        return not self.failed and not self.unanswered

    def check_same_model(self, answer: Answer | Embedding) -> None:
        """Refuse to mix the answers of two models.

        Raises:
            UsageError: earlier rows are another model's, or another variant's.
        """
        made_by = (answer.model, answer.variant)
        if self.made_by and made_by not in self.made_by:
            raise UsageError(
                "the rows in the file come from another model",
                expected=", ".join(sorted(" ".join(each) for each in self.made_by)),
                got=" ".join(made_by),
                hint="choose another file",
            )

    def count_labels(self, labels: Iterable[str]) -> None:
        """Count an answer."""
        self.answered += 1
        self.labels.update(labels)

    def count_earlier(self, finished: Finished) -> None:
        """Count a row that an earlier run wrote."""
        self.earlier += 1
        if finished.labels is None:
            self.failed += 1
        else:
            self.count_labels(finished.labels)
        if finished.made_by is not None:
            self.made_by.add(finished.made_by)


def answer_each(
    backend: Backend[Result],
    images: Iterable[str],
    *,
    tally: Tally,
    write: Callable[[str, Result | PinnaceError], None],
    report: Callable[[str, PinnaceError], None],
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Ask for every image, and hand on each outcome in order.

    Args:
        backend: what answers.
        images: paths.
        tally: counts what happens.
        write: gets what is final: an answer, or the error of an image that cannot be read.
        report: gets every error, after `write`; what it raises ends the work.
        advance: called after each image.

    Raises:
        PinnaceError: what is wrong with more than one image: no such model, no server, twenty images in a row
            without an answer.
    """
    with closing(outcomes_of(backend, images)) as outcomes:
        for image, outcome in outcomes:
            tally.attempted += 1
            if not isinstance(outcome, PinnaceError):
                tally.check_same_model(outcome)
                write(image, outcome)
                tally.written += 1
                tally.count_labels(outcome.labels if isinstance(outcome, Answer) else ())
            else:
                if is_about_the_image(outcome):
                    write(image, outcome)
                    tally.written += 1
                    tally.failed += 1
                else:
                    tally.unanswered += 1
                report(image, outcome)
            advance()


def outcomes_of(backend: Backend[Result], images: Iterable[str]) -> Outcomes[Result]:
    """Ask for every image, several at once, and yield each with its answer or its error, in order.

    Args:
        backend: what answers.
        images: paths.

    Raises:
        PinnaceError: as `answer_each`.
    """
    unanswered_in_a_row = 0
    outcomes = (
        map_in_order(
            backend.answer, images, backend.concurrency, ahead=AHEAD, join_timeout=backend.join_timeout
        )
        if backend.many is None
        else backend.many(images)
    )
    with closing(outcomes):
        for image, outcome in outcomes:
            if not isinstance(outcome, PinnaceError):
                unanswered_in_a_row = 0
            elif _is_temporary(outcome):
                unanswered_in_a_row += 1
                if unanswered_in_a_row == _MOST_UNANSWERED_IN_A_ROW:
                    raise outcome
            elif not is_about_the_image(outcome):
                raise outcome
            yield image, outcome


def is_about_the_image(error: PinnaceError) -> bool:
    """Whether an error is one image's, and stays as long as the image is what it is."""
    return isinstance(error, ImageError) or (isinstance(error, Refused) and error.is_about_the_image)


def _is_temporary(error: PinnaceError) -> bool:
    return isinstance(error, NoAnswer) or (isinstance(error, Refused) and error.is_temporary)
