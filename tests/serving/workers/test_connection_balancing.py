"""Every worker gets its share of the connections, whichever of them the system wakes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pinnace.models.cpus import available_cpus
from pinnace.serving.workers.connection_balancing import ConnectionBalancer, WorkerLoad, WorkerLoads
from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

OTHER = """
import sys, time
from pathlib import Path
from pinnace.serving.workers.connection_balancing import WorkerLoads

loads = WorkerLoads(Path(sys.argv[1]), 2)
loads.set_connections(int(sys.argv[2]))
loads.set_requests(int(sys.argv[3]))
print("there", flush=True)
while True:
    loads.heartbeat()
    time.sleep(0.1)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: the path of a Unix socket is short.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def other_worker(folder: Path, connections: int, requests: int) -> Iterator[subprocess.Popen[str]]:
    """A process that says it has so much to do."""
    command = [sys.executable, "-c", OTHER, str(folder), str(connections), str(requests)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def balancing(folder: Path) -> contextlib.closing[ConnectionBalancer]:
    """This process as a worker with nothing in progress; inside of an event loop."""
    return contextlib.closing(ConnectionBalancer(folder, 2, asyncio.Protocol, lambda: 0))


def test_each_worker_sees_what_the_others_have_to_do(folder: Path) -> None:
    own = WorkerLoads(folder, 2)
    assert own.peers() == []
    with other_worker(folder, 7, 3) as process:
        (load,) = own.peers()
        assert load == WorkerLoad(process.pid, 7, 3, load.since)
        assert load.total == 10
        own.count_sent_connection(process.pid)
        assert own.peers()[0].connections == 8
        process.send_signal(signal.SIGSTOP)
        time.sleep(3.1)
        assert own.peers() == []  # it lives, and does nothing
        process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        assert len(own.peers()) == 1
    own.remove(process.pid)
    assert own.peers() == []


def test_the_row_of_a_dead_worker_is_used_again(folder: Path) -> None:
    own = WorkerLoads(folder, 2)
    for connections in range(20):  # far more than there are rows
        with other_worker(folder, connections, 0) as process:
            assert [load.pid for load in own.peers()] == [process.pid]
        own.remove(process.pid)


@pytest.mark.parametrize(
    ("connections", "requests", "given"),
    [(1, 0, False), (2, 0, True), (2, 1, True), (3, 0, True)],
)
def test_a_connection_goes_where_there_is_less_to_do(
    folder: Path, connections: int, requests: int, given: bool
) -> None:
    """To a worker with nothing to do; from one that has this connection, and perhaps others."""

    async def try_it() -> bool:
        with balancing(folder) as balancer, other_worker(folder, 0, 0) as process:
            waiting = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            waiting.bind(str(folder / f"{process.pid}.socket"))
            one, two = socket.socketpair()
            was_given = balancer.hand_over(one.fileno(), connections, requests)
            if was_given:
                _, (descriptor,), _, _ = socket.recv_fds(waiting, 16, 1)
                with socket.socket(fileno=descriptor) as received:
                    received.sendall(b"it is the same")
                assert two.recv(100) == b"it is the same"
            for each in (one, two, waiting):
                each.close()
        return was_given

    assert asyncio.run(try_it()) == given


def test_what_a_dead_worker_cannot_take_is_kept(folder: Path) -> None:
    async def try_it() -> bool:
        with balancing(folder) as balancer, other_worker(folder, 0, 0):  # and no socket
            one, two = socket.socketpair()
            given = balancer.hand_over(one.fileno(), 5, 5)
            one.close()
            two.close()
            assert balancer.loads.peers() == []
        return given

    assert asyncio.run(try_it()) is False


class FullSocket:
    """Refuses to send as a system does whose queue is full; which number it gives differs."""

    def __init__(self, number: int) -> None:
        self._number = number

    def sendmsg(self, *_: object) -> int:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS])
def test_a_worker_with_a_full_queue_keeps_its_row(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def try_it() -> None:
        with balancing(folder) as balancer, other_worker(folder, 0, 0) as process:
            one, two = socket.socketpair()
            with monkeypatch.context() as patch:
                patch.setattr(balancer, "_socket", FullSocket(number))
                assert balancer.hand_over(one.fileno(), 5, 5) is False
            one.close()
            two.close()
            assert [load.pid for load in balancer.loads.peers()] == [process.pid]

    asyncio.run(try_it())


@pytest.fixture(scope="module")
def pair(start_server: Any) -> Any:
    """A server of two workers."""
    server = start_server(workers=2, concurrency=1, drain=0.1)
    server.wait_until_ready()
    return server


def connections_of(server: Any) -> list[int]:
    """How many connections each worker holds."""
    workers = psutil.Process(server.process.pid).children()
    return [
        sum(
            c.status == psutil.CONN_ESTABLISHED and c.laddr.port == server.port
            for c in worker.net_connections()
        )
        for worker in workers
    ]


def test_connections_that_are_kept_are_shared_out(pair: Any) -> None:
    image = encode((250, 10, 20))
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(1, 9):
            client = stack.enter_context(httpx.Client())
            answer = client.post(f"{pair.url}/classify", content=image)
            assert answer.json()["predictions"][0]["label"] == "reddish"
            clients.append(client)
            held = connections_of(pair)
            assert sum(held) == number
            assert max(held) - min(held) <= 1, held
        for client in clients:  # they are as good as before
            assert client.post(f"{pair.url}/classify", content=image).status_code == 200


def test_a_worker_that_is_stopped_is_given_nothing(pair: Any) -> None:
    workers = psutil.Process(pair.process.pid).children()
    workers[0].suspend()
    try:
        time.sleep(3.5)
        # The system may still wake it for a connection of its own; what the other accepts, the other answers.
        answered = 0
        for _ in range(6):
            with contextlib.suppress(httpx.HTTPError):
                answered += httpx.get(f"{pair.url}/livez", timeout=1).status_code == 200
        assert answered == 6
    finally:
        workers[0].resume()


def test_a_killed_worker_is_replaced_and_has_its_share_again(pair: Any) -> None:
    image = encode((250, 10, 20))
    victim = psutil.Process(pair.process.pid).children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.2)
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{pair.url}/readyz", timeout=1).status_code == 200:
                break
    time.sleep(1)
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            client = stack.enter_context(httpx.Client())
            assert client.post(f"{pair.url}/classify", content=image).status_code == 200
        held = connections_of(pair)
        assert max(held) - min(held) <= 1, held


def test_whether_another_worker_is_idle(folder: Path) -> None:
    own = WorkerLoads(folder, 2)
    assert not own.has_idle_peer()
    with other_worker(folder, 1, 0) as idle:
        time.sleep(0.2)  # not only for a moment
        assert own.has_idle_peer()
        idle.send_signal(signal.SIGSTOP)
        time.sleep(3.1)
        assert not own.has_idle_peer()  # it does nothing because it cannot
    own.remove(idle.pid)
    with other_worker(folder, 1, 1):
        time.sleep(0.2)
        assert not own.has_idle_peer()


def test_busy_connections_move_to_an_idle_worker(pair: Any) -> None:
    """Idle connections that are kept open count like busy ones, until one worker has nothing to do."""
    image = encode((250, 10, 20), (1200, 1200), "JPEG")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(8)]
        for client in clients:
            client.get(f"{pair.url}/livez")
        workers = psutil.Process(pair.process.pid).children()
        one = workers[0]
        of_one = {
            c.raddr.port
            for c in one.net_connections()
            if c.status == psutil.CONN_ESTABLISHED and c.laddr.port == pair.port
        }
        busy = [client for client in clients if own_port(client) in of_one]
        assert 3 <= len(busy) <= 5
        before = [worker.cpu_times().user for worker in workers]
        threads = [
            threading.Thread(
                target=lambda client=client: [
                    client.post(f"{pair.url}/classify", content=image) for _ in range(60)
                ]
            )
            for client in busy
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        used = [worker.cpu_times().user - was for worker, was in zip(workers, before, strict=True)]
        assert min(used) > 0.15 * sum(used), used


def own_port(client: httpx.Client) -> int:
    """The local port of the one connection that a client holds."""
    (connection,) = client._transport._pool.connections  # type: ignore[attr-defined]
    stream = connection._connection._network_stream
    return int(stream.get_extra_info("client_addr")[1])


@pytest.mark.skipif(available_cpus() < 2, reason="with one CPU there is one thread")
def test_a_batch_has_the_cpu_of_an_idle_worker(start_server: Any) -> None:
    server = start_server(workers=available_cpus(), drain=0)
    server.wait_until_ready()
    time.sleep(1)  # until each has told the others that it has nothing to do
    workers = psutil.Process(server.process.pid).children()
    before = [cpu_of_threads(worker) for worker in workers]
    files = [("images", encode((250, 10, 20), (1500, 1500), "JPEG"))] * 40
    answer = httpx.post(f"{server.url}/classify_batch", files=files, timeout=60)
    assert [result["predictions"][0]["label"] for result in answer.json()["results"]] == ["reddish"] * 40
    used = []
    for worker, was in zip(workers, before, strict=True):
        used.append(sorted(now - was.get(thread, 0) for thread, now in cpu_of_threads(worker).items()))
    busiest = max(used, key=sum)
    assert busiest[-2] > 0.3 * busiest[-1], used
    server.stop()


def cpu_of_threads(process: psutil.Process) -> dict[int, float]:
    """Seconds of each thread but the first, which has the event loop."""
    return {thread.id: thread.user_time for thread in process.threads() if thread.id != process.pid}
