"""More than can be done, workers that are killed, a server told to stop: what comes back, and what is lost.

Short versions of `benchmarks/overload.py`, `chaos.py` and `soak.py`; what they time is not asserted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import Any

import chaos
import httpx
import load
import psutil
import pytest
import soak

from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

FULL = "images wait or are in work"


def large_image(colour: tuple[int, int, int]) -> bytes:
    data: bytes = encode(colour, (2500, 2500), "JPEG")
    return data


def test_what_is_not_answered_is_refused_and_what_is_answered_is_right(small_server: Any) -> None:
    colours = {"reddish": (250, 10, 20), "greenish": (10, 240, 20), "bluish": (10, 20, 240)}
    images = {label: large_image(colour) for label, colour in colours.items()}

    async def crowd() -> list[tuple[str, Any]]:
        target = load.Target("127.0.0.1", small_server.port)
        asked = [(label, load.request_bytes("/classify", image)) for label, image in images.items()] * 20
        replies = await asyncio.gather(*(target.send(request) for _, request in asked))
        target.close()
        return [(label, reply) for (label, _), reply in zip(asked, replies, strict=True)]

    answers = asyncio.run(crowd())
    accepted = [(label, reply) for label, reply in answers if reply.status == 200]
    refused = [reply for _, reply in answers if reply.status == 503]
    assert len(accepted) + len(refused) == 60
    assert len(accepted) >= 3
    assert refused
    assert all(reply.json()["predictions"][0]["label"] == label for label, reply in accepted)
    for reply in refused:
        error = reply.json()["error"]
        assert error["code"] == "overloaded"
        assert FULL in error["message"]
        assert error["hint"] == f"try again in {reply.headers['retry-after']} s"
        assert int(reply.headers["retry-after"]) >= 1
    assert FULL not in small_server.log


def test_a_request_is_refused_before_its_body_is_read(small_server: Any) -> None:
    async def refused() -> Any:
        target = load.Target("127.0.0.1", small_server.port)
        image = load.request_bytes("/classify", large_image((1, 2, 3)))
        crowd = asyncio.ensure_future(load.closed_loop(target, lambda: image, 12, 3))
        try:
            while not crowd.done():
                reader, writer = await asyncio.open_connection("127.0.0.1", small_server.port)
                writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
                with contextlib.suppress(asyncio.TimeoutError):
                    return await asyncio.wait_for(reader.readline(), 0.1)
                writer.close()
            return b""
        finally:
            writer.close()
            await crowd
            target.close()

    assert asyncio.run(refused()) == b"HTTP/1.1 503 Service Unavailable\r\n"


def test_what_nobody_waits_for_is_not_done(small_server: Any) -> None:
    image = large_image((250, 10, 20))

    async def leave_and_ask() -> Any:
        for _ in range(5):  # each time, two wait behind one; then all leave
            writers = []
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", small_server.port)
                writer.write(load.request_bytes("/classify", image))
                writers.append(writer)
            await asyncio.sleep(0.02)
            for writer in writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(0.05)
        target = load.Target("127.0.0.1", small_server.port)
        for _ in range(100):
            reply = await target.send(load.request_bytes("/classify", image))
            if reply.status == 200:
                return reply
            await asyncio.sleep(0.05)
        return reply

    assert asyncio.run(leave_and_ask()).status == 200
    assert "Traceback" not in small_server.log


def test_a_batch_has_all_its_images_looked_at_or_none(small_server: Any) -> None:
    files = [("images", encode((250, 10, 20)))] * 10  # more than there is room for; nothing else is in
    results = httpx.post(f"{small_server.url}/classify_batch", files=files, timeout=30).json()["results"]
    assert [one["predictions"][0]["label"] for one in results] == ["reddish"] * 10


def test_a_killed_worker_comes_back_and_only_what_was_in_flight_is_lost(start_server: Any) -> None:
    server = start_server(workers=2, concurrency=1)
    server.wait_until_ready()
    request = load.request_bytes("/classify", encode((250, 10, 20)))

    async def kill() -> list[Any]:
        clients = chaos.Clients(server.port, request)
        task = asyncio.ensure_future(clients.run())
        await asyncio.sleep(0.5)
        before = psutil.Process(server.process.pid).children()
        before[0].kill()
        await asyncio.sleep(0.1)
        statuses = {httpx.get(f"{server.url}/readyz", timeout=10).status_code for _ in range(5)}
        assert statuses == {503}
        assert await chaos.ready(server.port) < 60
        await asyncio.sleep(0.3)
        clients.stop()
        await task
        after = psutil.Process(server.process.pid).children()
        assert len(after) == 2
        assert before[0].pid not in [worker.pid for worker in after]
        replies: list[Any] = clients.replies
        return replies

    replies = asyncio.run(kill())
    lost = [reply for reply in replies if reply.status != 200]
    assert len(lost) <= chaos.CLIENTS
    assert len(replies) > 50
    server.stop()


def test_sigterm_loses_nothing(start_server: Any) -> None:
    server = start_server(workers=1, concurrency=2, drain=1)
    server.wait_until_ready()
    request = load.request_bytes("/classify", encode((250, 10, 20)))

    async def stop() -> list[Any]:
        clients = chaos.Clients(server.port, request)
        task = asyncio.ensure_future(clients.run())
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        clients.stop()
        await task
        replies: list[Any] = clients.replies
        return replies

    replies = asyncio.run(stop())
    assert {reply.status for reply in replies} == {200}
    assert any(reply.headers.get("connection") == "close" for reply in replies)
    assert server.process.wait(20) == 0


def test_mixed_traffic_leaks_nothing(start_server: Any) -> None:
    server = start_server(workers=1, concurrency=2)
    server.wait_until_ready()
    [worker] = psutil.Process(server.process.pid).children()
    target = load.Target("127.0.0.1", server.port)
    cases = soak.hostile_cases()

    async def traffic(seconds: float) -> int:
        end = time.perf_counter() + seconds
        asks = (soak.ask(target, soak.requests(cases, seed), end) for seed in range(4))
        unexpected = sum(await asyncio.gather(*asks))
        target.close()
        return unexpected

    assert asyncio.run(traffic(5)) == 0
    time.sleep(0.5)
    idle, warm = worker.num_fds(), worker.memory_info().rss
    assert asyncio.run(traffic(5)) == 0
    deadline = time.monotonic() + 5
    while worker.num_fds() > idle and time.monotonic() < deadline:
        time.sleep(0.1)
    assert worker.num_fds() <= idle
    assert worker.memory_info().rss < 1.3 * warm
    assert "Traceback" not in server.log
    server.stop()
