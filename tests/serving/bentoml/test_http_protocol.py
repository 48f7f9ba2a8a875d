"""Clients that have closed their side: those that still read are answered, those that are gone are not."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from pinnace.serving.bentoml.http_protocol import BoundedProtocol
from pinnace.serving.settings import ServerSettings

ASK = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
WORK_SECONDS = 3.0


class Protocol(BoundedProtocol):
    """The protocol with a watch that looks every tenth of a second."""

    settings = ServerSettings(idle_timeout=0.4)
    watch = None


class Worker:
    """An application that works for a while, and hears when nobody waits for it any more."""

    def __init__(self) -> None:
        self.gone = threading.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            await asyncio.wait_for(until_gone(), WORK_SECONDS)
            self.gone.release()
        except asyncio.TimeoutError:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})


@pytest.fixture
def running() -> Iterator[tuple[Worker, int]]:
    worker = Worker()
    config = uvicorn.Config(worker, http=Protocol, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield worker, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_who_closes_one_side_is_answered_and_who_is_gone_is_given_up(running: tuple[Worker, int]) -> None:
    worker, port = running
    waiting = socket.create_connection(("127.0.0.1", port), timeout=10)
    waiting.sendall(ASK)
    waiting.shutdown(socket.SHUT_WR)
    for text in (ASK, ASK * 3):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(text)
            time.sleep(0.1)
    assert worker.gone.acquire(timeout=WORK_SECONDS - 0.5)
    assert worker.gone.acquire(timeout=WORK_SECONDS - 0.5)
    with waiting:
        data = b""
        while more := waiting.recv(1000):
            data += more
    assert data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert not worker.gone.acquire(timeout=0.1)
