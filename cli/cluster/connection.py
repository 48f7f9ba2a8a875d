"""Beginning and ending with Ray: whether it is there, a cluster to be part of, and its silence."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pinnace.models.cpus import available_cpus
from pinnace.models.errors import MissingDependency, UsageError, error_lines
from pinnace.models.install import install_line

# The thread that waits for Ray Data, and seconds within which it and Ray Data's own have to end.
WAITING_THREAD = "pinnace-ray"
_ENDING = 30.0


@contextmanager
def without_native_output() -> Iterator[None]:
    """Keep what Ray's own processes and threads write to standard error off it, and what Python writes on it.

    They have a log of their own, in /tmp/ray. On standard output, Ray tells of machines and tasks that are
    lost; a run on a cluster itself says nothing there.
    """
    before, ours = sys.stderr, os.dup(2)
    before.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    with (
        os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as still,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        try:
            if _is_standard_error(before):
                sys.stderr = still
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(ours, 2)
            sys.stderr = before
            os.close(ours)
            os.close(null)


def _is_standard_error(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # a test's
        return False


def check_ray_is_there() -> None:
    """Refuse a run without the packages it needs.

    Raises:
        MissingDependency: one is not installed.
    """
    for package in ("ray", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"--ray needs {package}, which is not installed", hint=install_line("ray")
            )


@contextmanager
def connected(address: str, bundle_bytes: int) -> Iterator[None]:
    """A cluster: one of this machine's own for `local`, which listens on loopback and ends with the run.

    Args:
        address: `local`, `auto`, or the address of a cluster.
        bundle_bytes: of the bundle, which a cluster of this machine's own has to have room for.

    Raises:
        UsageError: there is no such cluster.
    """
    # Before the import: Ray reports its use to its maker otherwise.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or the thread that is left would start a cluster of its own
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(
                "local",
                num_cpus=available_cpus(),
                include_dashboard=False,
                object_store_memory=256 * 2**20 + 2 * bundle_bytes,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        else:
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            "no Ray cluster was found" if address == "auto" else f"there is no Ray cluster at {address}",
            got=error_lines(error)[0],
            hint="start one with `ray start --head`, or use this machine alone: --ray local",
        ) from None
    try:
        yield
    finally:
        _end_execution()
        ray.shutdown()


def _end_execution() -> None:
    """End what Ray Data still executes, as after Ctrl-C or the loss of a machine.

    Its thread would find Ray shut down, and Ray then ends the whole process.
    """
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=True)
            thread.join(_ENDING)
    for thread in threading.enumerate():
        if thread.name == WAITING_THREAD:
            thread.join(_ENDING)
