"""Python clients of a Pinnace server.

from pinnace.clients import Client

with Client("http://localhost:3000") as client:
    answer = client.classify("cat.jpg", top_k=3)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinnace.clients.async_client import AsyncClient
    from pinnace.clients.client import Client
    from pinnace.clients.errors import BadAnswer, NoAnswer, Refused, Unreachable
    from pinnace.clients.responses import ServedModel, ServedOutputs
    from pinnace.models.answer import Answer, Embedding, Prediction, Timing
    from pinnace.models.errors import PinnaceError, ServerError

__all__ = [
    "Answer",
    "AsyncClient",
    "BadAnswer",
    "Client",
    "Embedding",
    "NoAnswer",
    "PinnaceError",
    "Prediction",
    "Refused",
    "ServedModel",
    "ServedOutputs",
    "ServerError",
    "Timing",
    "Unreachable",
]

_HOMES = {
    "pinnace.clients.async_client": ("AsyncClient",),
    "pinnace.clients.client": ("Client",),
    "pinnace.clients.errors": ("BadAnswer", "NoAnswer", "Refused", "Unreachable"),
    "pinnace.clients.responses": ("ServedModel", "ServedOutputs"),
    "pinnace.models.answer": ("Answer", "Embedding", "Prediction", "Timing"),
    "pinnace.models.errors": ("PinnaceError", "ServerError"),
}


def __getattr__(name: str) -> Any:
    # Every verb of the command line passes through here, and httpx takes a tenth of a second to import.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
