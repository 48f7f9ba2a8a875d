"""What waits for a thread: work that is done alone, or up to the model's input and on from its output."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pinnace.models.tracebacks import release_frames
from pinnace.serving.inference.batcher import Array, Input, run_in_batches

T = TypeVar("T")

# Of images that a thread takes together, though each is a batch of its own: how many, and seconds for all.
_MOST_TOGETHER = 4
_SECONDS_TOGETHER = 0.04


class Outcome(NamedTuple):
    """What the model gave for one image.

    Attributes:
        row: shape (values,).
        waited: seconds since its input was ready in which the thread was at work on other images alone.
    """

    row: Array
    waited: float = 0.0


Steps: TypeAlias = Generator[Input, Outcome, T]
"""Work that yields the model's input for one image, shape (1, ...), is sent its row, and returns the rest."""


def run_alone(steps: Steps[T], run: Callable[[Input], Array]) -> T:
    """All the steps, with a model of one row."""
    row = run(next(steps))
    try:
        steps.send(Outcome(row))
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("there is one step for the model")


def measured(steps: Steps[T], record: Callable[[float], object]) -> Steps[T]:
    """The same steps; `record` is told how many seconds they took, without those in which they waited."""
    started, waited = time.perf_counter(), 0.0
    try:
        outcome = yield next(steps)
        waited = outcome.waited
        steps.send(outcome)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        record(time.perf_counter() - started - waited)
    raise AssertionError("there is one step for the model")


class WaitingCall:
    """Work that waits for its turn; where its future is cancelled, it is forgotten at once."""

    def __init__(self, future: Future[Any], work: Callable[[], Any], release: Callable[[], None]) -> None:
        """Hold `work` and call `release` once that is dropped, done or not."""
        self.future = future
        self._work: Callable[[], Any] | None = work
        self._release = release
        future.add_done_callback(self._drop_if_cancelled)

    def run(self, more: MoreCalls) -> None:
        """Run it, unless it is cancelled.

        Args:
            more: takes calls from the head of those that wait; see `Scheduler.more`.
        """
        work = self._begin()
        if work is None:
            return
        try:
            self.future.set_result(work())
        except BaseException as error:
            release_frames(error)
            self.future.set_exception(error)
        finally:
            # An exception keeps this frame, as the one below which it was raised.
            release = self._release
            del self, work, more
            release()

    def _begin(self) -> Callable[[], Any] | None:
        if not self.future.set_running_or_notify_cancel():
            return None
        work, self._work = self._work, None
        assert work is not None
        return work

    def _drop_if_cancelled(self, future: Future[Any]) -> None:
        if future.cancelled() and self._work is not None:
            self._work = None
            self._release()


class CallGroup:
    """Calls of one model, of which a thread takes several: it prepares one by one, runs them, and answers.

    They need not be one batch for that: what a thread does for the second image in a row costs less, because
    the processor's caches still have it, and the event loop has all answers at once.

    Attributes:
        run: the model: its input, shape (batch, ...), to float32 of shape (batch, classes).
        batch: the most images of one call of the model.
        most: says how many images a thread may take just now.
        threads: how many threads share what waits.
    """

    def __init__(
        self,
        run: Callable[[Input], Array],
        batch: int,
        most: Callable[[], int] | None = None,
        threads: int = 1,
    ) -> None:
        """Without `most` a thread takes as many images as a batch may have."""
        self.run = run
        self.batch = batch
        self.most = most or (lambda: batch)
        self.threads = threads

    def rows(self, images: list[Input]) -> Iterator[tuple[Array | Exception, float | None]]:
        """The row of each image, or what the model raises for it, and the seconds of a call of its own.

        In a batch all images are at work together, and none has a call of its own: None.
        """
        if self.batch > 1:
            yield from ((row, None) for row in run_in_batches(self.run, images, self.batch))
            return
        for image in images:
            began = time.perf_counter()
            (row,) = run_in_batches(self.run, [image], 1)
            yield row, time.perf_counter() - began


class GroupedCall(WaitingCall):
    """Work that its thread does together with others of its group that wait."""

    def __init__(
        self,
        future: Future[Any],
        steps: Callable[[], Steps[Any]],
        release: Callable[[], None],
        group: CallGroup,
    ) -> None:
        """As `WaitingCall`, of work in steps."""
        super().__init__(future, steps, release)
        self.group = group
        self._steps: Steps[Any] | None = None
        self._ready = 0.0

    def run(self, more: MoreCalls) -> None:
        """Run it with those that wait behind it, unless they are cancelled."""
        group = self.group
        calls = [self, *more(group_is(group), group.most() - 1, group.threads)]
        prepared = [
            (call, image) for call in calls if isinstance(call, GroupedCall) for image in call._prepared()
        ]
        del self, calls
        rows = list(group.rows([image for _, image in prepared]))
        for (call, _), (row, own) in zip(prepared, rows, strict=True):
            call._finish(row, 0.0 if own is None else time.perf_counter() - call._ready - own)

    def _prepared(self) -> list[Input]:
        """The model's input; nothing where it is cancelled, or failed."""
        work = self._begin()
        if work is None:
            return []
        self._steps = steps = work()
        try:
            image = next(steps)
        except BaseException as error:
            self._fail(error)
            del self, work, steps
            return []
        self._ready = time.perf_counter()
        return [image]

    def _finish(self, row: Array | Exception, waited: float) -> None:
        steps, self._steps = self._steps, None
        assert steps is not None
        try:
            if isinstance(row, Exception):
                steps.throw(row)
            else:
                steps.send(Outcome(row, waited))
        except StopIteration as end:
            self.future.set_result(end.value)
            self._release()
        except BaseException as error:
            self._fail(error)
            del self, steps, row

    def _fail(self, error: BaseException) -> None:
        self._steps = None
        release_frames(error)
        self.future.set_exception(error)
        self._release()


MoreCalls: TypeAlias = Callable[[Callable[[WaitingCall], bool], int, int], "list[WaitingCall]"]
"""Takes calls that wait; see `Scheduler.more`."""


def images_together(seconds: float) -> int:
    """How many images of so many seconds each a thread takes together, though each is a batch of its own.

    The answers go out together, so it is what is done soon; one where nobody knows how long an image takes.
    """
    return max(1, min(_MOST_TOGETHER, int(_SECONDS_TOGETHER / seconds))) if seconds > 0 else 1


def group_is(group: CallGroup) -> Callable[[WaitingCall], bool]:
    """Whether a call is of this group."""
    return lambda call: isinstance(call, GroupedCall) and call.group is group
