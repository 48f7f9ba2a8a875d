"""How uvicorn in a worker comes by our protocol, and by the connections that other workers hand over."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
import uvicorn.config

from pinnace.serving.bentoml.http_protocol import BoundedProtocol
from pinnace.serving.settings import ServerSettings
from pinnace.serving.workers.connection_balancing import ConnectionBalancer, WorkerLoads

logger = logging.getLogger("pinnace.serving")


def use_bounded_protocol(settings: ServerSettings) -> None:
    """Let uvicorn in this process speak HTTP within these settings."""
    BoundedProtocol.settings = settings
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "pinnace.serving.bentoml.http_protocol:BoundedProtocol"


def share_connections(folder: Path, workers: int, on_shared: Callable[[WorkerLoads], None]) -> None:
    """Let the server of this process share its connections with those of the folder, once it has started.

    Args:
        folder: what the workers of one server share.
        workers: how many there are.
        on_shared: called with what they tell each other, once this one takes part.
    """
    startup = uvicorn.Server.startup

    async def started(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await startup(server, sockets)

        def protocol() -> BoundedProtocol:
            made = BoundedProtocol(server.config, server.server_state, server.lifespan.state)
            made.may_hand_over = False
            return made

        def requests() -> int:
            return len(server.server_state.tasks)

        if server.config.ssl is not None:  # what is encrypted cannot be handed on
            return
        try:
            BoundedProtocol.balancer = ConnectionBalancer(folder, workers, protocol, requests)
        except OSError:
            logger.warning("connections are not shared out over the workers", exc_info=True)
            return
        on_shared(BoundedProtocol.balancer.loads)

    uvicorn.Server.startup = started  # type: ignore[method-assign, assignment]
