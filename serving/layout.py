"""How the CPUs are shared out: processes, images at once in each, threads for each image.

Images in work are threads of one process, and each runs the model on its own thread of the same session:
ONNX Runtime, Pillow and NumPy let go of the interpreter lock while they compute, so a few threads keep as
many CPUs busy. One process holds one copy of the model and takes every connection, so no CPU idles because a
keep-alive connection stuck to another process. What stays under the lock (HTTP, JSON, metrics) sets the
number of threads that one process can feed; past that, another process is started.
`docs/adr/0002-server-layout.md` has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pinnace.models.cpus import available_cpus
from pinnace.serving.settings import Settings

SLOTS_PER_WORKER = 4


@dataclass(frozen=True)
class Layout:
    """A share-out of the CPUs.

    Attributes:
        workers: server processes.
        concurrency: images in work at once in each process.
        threads: CPU threads for one image.
    """

    workers: int
    concurrency: int
    threads: int

    @property
    def cpus(self) -> int:
        """CPUs that are busy when every slot is."""
        return self.workers * self.concurrency * self.threads


def plan(settings: Settings, cpus: int | None = None) -> Layout:
    """The layout for these settings on this machine.

    Args:
        settings: `workers`, `concurrency`, `threads` and `device` count.
        cpus: CPUs to share out; by default those that this process may use.
    """
    cpus = available_cpus() if cpus is None else cpus
    slots = max(1, cpus // settings.threads)
    if settings.workers != "auto":
        workers = settings.workers
    elif settings.device == "cuda":
        workers = 1  # a second process would hold a second copy of the model on the device
    elif settings.concurrency != "auto":
        workers = max(1, slots // settings.concurrency)
    else:
        workers = math.ceil(slots / SLOTS_PER_WORKER)
    concurrency = max(1, slots // workers) if settings.concurrency == "auto" else settings.concurrency
    return Layout(workers, concurrency, settings.threads)
