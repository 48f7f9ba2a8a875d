"""A concurrent `map` in processes, with results in the order of the items.

Threads of one process wait for one another's Python, which the more CPUs there are is the more. How these
processes do beside as many that know nothing of one another, benchmarks/bulk.py measures.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from pinnace.models.errors import PinnaceError
from pinnace.models.tracebacks import release_frames

T = TypeVar("T")
R = TypeVar("R")

# So many items are handed over at once: each message wakes two processes.
_CHUNK = 8

# What a worker has: how it begins, what it then calls, and when it has to stop.
_begin_with: Callable[[], Callable[[Any], Any]] | None = None
_function: Callable[[Any], Any] | None = None
_stopped: Event | None = None


def map_in_processes(
    begin: Callable[[], Callable[[T], R]], items: Iterable[T], processes: int, *, ahead: int
) -> Generator[tuple[T, R | PinnaceError], None, None]:
    """Call a function for each item in processes; yield each item with its result, in order.

    Args:
        begin: called once in each process for what is then called for each item. It, the items and the
            results can be pickled. A `PinnaceError` of the function is its result for the item; any other
            exception, and every exception of `begin`, is raised here.
        items: read no faster than they are worked on.
        processes: how many.
        ahead: how many items may be running or done while an earlier one is still running.

    Raises:
        PinnaceError: a process was killed.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        # Imported once, in the process that the workers are forked from.
        multiprocessing.set_forkserver_preload([begin.__module__, __name__])
    stopped = context.Event()
    pool = ProcessPoolExecutor(processes, context, initializer=_prepare, initargs=(begin, stopped))
    waiting: deque[tuple[list[T], Future[list[R | PinnaceError]]]] = deque()

    def first() -> Iterable[tuple[T, R | PinnaceError]]:
        chunk, future = waiting.popleft()
        return zip(chunk, future.result(), strict=True)

    try:
        rest = iter(items)
        while chunk := list(itertools.islice(rest, _CHUNK)):
            waiting.append((chunk, pool.submit(_work, chunk)))
            if len(waiting) * _CHUNK >= ahead:
                yield from first()
        while waiting:
            yield from first()
    except BrokenProcessPool:
        raise PinnaceError(
            "a process that answers for images was killed, as the system does when memory runs out",
            hint="continue with --resume, and fewer processes: --concurrency 1",
        ) from None
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _prepare(begin: Callable[[], Callable[[Any], Any]], stopped: Event) -> None:
    """Begin a worker: Ctrl-C is its parent's, and it ends when that ends."""
    global _begin_with, _stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _begin_with, _stopped = begin, stopped
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(chunk: list[T]) -> list[Any]:
    global _function
    assert _begin_with is not None
    assert _stopped is not None
    if _function is None:
        _function = _begin_with()
    results: list[Any] = []
    for item in chunk:
        if _stopped.is_set():
            break
        try:
            results.append(_function(item))
        except PinnaceError as error:
            release_frames(error)
            results.append(error)
    return results
