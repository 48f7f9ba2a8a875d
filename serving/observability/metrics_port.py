"""`PINNACE_METRICS_PORT`: the metrics of all workers on a port of their own, which the parent answers.

Who can reach that port needs no API key, and has nothing but the metrics.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pinnace.models.errors import UsageError


def serve_metrics(host: str, port: int, folder: Path) -> None:
    """Answer in a thread until this process ends.

    Args:
        host: the address to listen on.
        port: the port.
        folder: where the workers write their numbers.

    Raises:
        UsageError: the port is taken, or the host is no address of this machine.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(_Workers(folder))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port} for metrics: {os.strerror(error.errno or 0).lower()}",
            hint="choose another with PINNACE_METRICS_PORT",
        ) from None


class _Workers:
    """What the workers have counted by now, added up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Any]:
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        if not self._folder.is_dir():  # before the first worker
            return []
        collector: Any = MultiProcessCollector
        metrics: Iterable[Any] = collector(CollectorRegistry(), str(self._folder)).collect()
        return metrics
