"""How the CPUs are shared out: processes, images at once in each, threads for each image.

A process for each CPU, for threads of one process wait for each other's interpreter lock, and their CPUs with
them. Connections are shared out (`workers.connection_balancing`). Each has a second thread,
so that the images of a batch, which are in one process, keep more than one CPU busy where others leave it
(`scheduler`). `docs/adr/0002-server-layout.md` has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.cpus import available_cpus
from pinnace.serving.settings import ServerSettings

_THREADS_OF_A_WORKER = 2


@dataclass(frozen=True)
class Layout:
    """A share-out of the CPUs.

    Attributes:
        workers: server processes.
        concurrency: images in work at once in each process, at most.
        threads: CPU threads for one image.
        share: images in work at once in each process while all of them have work.
        calls: calls of a model at once in each process while all of them have work, where a thread prepares
            the images of a batch itself.
    """

    workers: int
    concurrency: int
    threads: int
    share: int
    calls: int = 1


def plan(settings: ServerSettings, cpus: int | None = None) -> Layout:
    """The layout for these settings on this machine.

    Args:
        settings: `workers`, `concurrency`, `threads`, `device` and `max_batch` count.
        cpus: CPUs to share out; by default those that this process may use.
    """
    cpus = available_cpus() if cpus is None else cpus
    slots = max(1, cpus // settings.threads)
    if settings.workers != "auto":
        workers = settings.workers
    elif settings.device not in (None, "cpu", "auto"):
        workers = 1  # a second process would hold a second copy of the model on the device
    elif settings.concurrency != "auto":
        workers = max(1, slots // settings.concurrency)
    else:
        workers = slots
    batch = 1 if settings.max_batch == "auto" else settings.max_batch
    if settings.concurrency != "auto":
        at_once = settings.concurrency
        return Layout(workers, at_once, settings.threads, at_once, max(1, at_once // batch))
    # A batch has the images that are in work at once, so there must be as many as it may have.
    calls = max(1, slots // workers)
    share = max(calls, batch)
    return Layout(workers, max(min(_THREADS_OF_A_WORKER, slots), share), settings.threads, share, calls)
