"""What waits for a thread: work that is done alone, or up to the model's input and on from its output."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from pinnace.models.tracebacks import release_frames
from pinnace.serving.inference.batcher import Array, Input, run_in_batches

T = TypeVar("T")

Steps: TypeAlias = Generator[Input, Array, T]
"""Work that yields the model's input for one image, shape (1, ...), is sent its row, and returns the rest."""


def run_alone(steps: Steps[T], run: Callable[[Input], Array]) -> T:
    """All the steps, with a model of one row."""
    row = run(next(steps))
    try:
        steps.send(row)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("there is one step for the model")


class WaitingCall:
    """Work that waits for its turn; where its future is cancelled, it is forgotten at once."""

    def __init__(self, future: Future[Any], work: Callable[[], Any], release: Callable[[], None]) -> None:
        """Hold `work` and call `release` once that is dropped, done or not."""
        self.future = future
        self._work: Callable[[], Any] | None = work
        self._release = release
        future.add_done_callback(self._drop_if_cancelled)

    def run(self, more: Callable[[Callable[[WaitingCall], bool], int], list[WaitingCall]]) -> None:
        """Run it, unless it is cancelled.

        Args:
            more: takes calls from the head of those that wait, while they are such as it is told, up to a
                number.
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
    """Calls of one model, of which a thread takes several: it prepares one by one, and runs them at once.

    Attributes:
        run: the model: its input, shape (batch, ...), to float32 of shape (batch, classes).
        most: the most images of one call.
    """

    def __init__(self, run: Callable[[Input], Array], most: int) -> None:
        self.run = run
        self.most = most


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

    def run(self, more: Callable[[Callable[[WaitingCall], bool], int], list[WaitingCall]]) -> None:
        """Run it with those that wait behind it, unless they are cancelled."""
        group = self.group
        calls: Sequence[WaitingCall] = [self, *more(group_is(group), group.most - 1)]
        prepared = [
            (call, image) for call in calls if isinstance(call, GroupedCall) for image in call._prepared()
        ]
        del self, calls
        rows = run_in_batches(group.run, [image for _, image in prepared], group.most)
        for (call, _), row in zip(prepared, rows, strict=True):
            call._finish(row)

    def _prepared(self) -> list[Input]:
        """The model's input; nothing where it is cancelled, or failed."""
        work = self._begin()
        if work is None:
            return []
        self._steps = steps = work()
        try:
            return [next(steps)]
        except BaseException as error:
            self._fail(error)
            del self, work, steps
            return []

    def _finish(self, row: Array | Exception) -> None:
        steps, self._steps = self._steps, None
        assert steps is not None
        try:
            if isinstance(row, Exception):
                steps.throw(row)
            else:
                steps.send(row)
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


def group_is(group: CallGroup) -> Callable[[WaitingCall], bool]:
    """Whether a call is of this group."""
    return lambda call: isinstance(call, GroupedCall) and call.group is group
