"""A concurrent `map` with results in the order of the items."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pinnace.models.errors import PinnaceError, UsageError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Task(Generic[T, R]):
    item: T
    result: Future[R | PinnaceError] = field(default_factory=Future)


def check_concurrency(concurrency: int) -> None:
    """Check a number of concurrent calls.

    Raises:
        UsageError: it is below 1.
    """
    if concurrency < 1:
        raise UsageError("concurrency must be at least 1", got=str(concurrency))


def map_in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    concurrency: int,
    *,
    ahead: int | None = None,
    join_timeout: float | None = 1.0,
) -> Generator[tuple[T, R | PinnaceError], None, None]:
    """Call a function for each item in threads; yield each item with its result, in order.

    Memory holds `ahead` items and their results, however many there are.

    Args:
        function: safe to call from several threads. A `PinnaceError` that it raises is its result for the
            item; any other exception is raised here.
        items: read no faster than they are worked on.
        concurrency: calls at once.
        ahead: how many items may be running or done while an earlier one is still running; by default four
            for each thread.
        join_timeout: seconds to wait for calls in flight when the iteration ends early; None to wait for all.
            Calls that are still running then go on in daemon threads.

    Raises:
        UsageError: concurrency is below 1.
    """
    check_concurrency(concurrency)
    ahead = max(concurrency, 4 * concurrency if ahead is None else ahead)
    todo: queue.SimpleQueue[_Task[T, R] | None] = queue.SimpleQueue()
    waiting: deque[_Task[T, R]] = deque()
    # Not an executor: the interpreter waits for the threads of one, so a silent server could hold up Ctrl-C.
    threads = [
        threading.Thread(target=_work, args=(function, todo), name=f"pinnace-ask-{number}", daemon=True)
        for number in range(concurrency)
    ]
    for thread in threads:
        thread.start()
    try:
        for item in items:
            waiting.append(_Task(item))
            todo.put(waiting[-1])
            if len(waiting) >= ahead:
                first = waiting.popleft()
                yield first.item, first.result.result()
        while waiting:
            first = waiting.popleft()
            yield first.item, first.result.result()
    finally:
        for task in waiting:
            task.result.cancel()
        for _ in threads:
            todo.put(None)
        deadline = None if join_timeout is None else time.monotonic() + join_timeout
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _work(function: Callable[[T], R], todo: queue.SimpleQueue[_Task[T, R] | None]) -> None:
    while (task := todo.get()) is not None:
        if not task.result.set_running_or_notify_cancel():
            continue
        try:
            task.result.set_result(function(task.item))
        except PinnaceError as error:
            task.result.set_result(error)
        except BaseException as error:
            task.result.set_exception(error)
