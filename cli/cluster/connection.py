"""Beginning and ending with Ray: whether it is there, and a cluster to be part of."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pinnace.models.cpus import available_cpus
from pinnace.models.errors import MissingDependency, UsageError, error_lines
from pinnace.models.install import install_line

# The thread that waits for Ray Data, and seconds within which it and Ray Data's own have to end.
WAITING_THREAD = "pinnace-ray"
_ENDING = 30.0


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
