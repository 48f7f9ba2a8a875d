"""A tiny bundle, and real servers that answer with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.ports import free_port
from support.server import Server, clean_environment
from support.tiny_bundle import build_bundle

REPOSITORY = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from pinnace.serving.bentoml.launcher import launch
from pinnace.models.errors import PinnaceError
from pinnace.serving.settings import load_settings
try:
    launch(load_settings(bundle=(Path(sys.argv[1]),)))
except PinnaceError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a server: nothing of the user's, and every file it writes in a temporary folder."""
    folder = tmp_path_factory.mktemp("bentoml")
    return {**clean_environment(folder), "TMPDIR": str(folder)}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], bundle: Path
) -> Iterator[StartServer]:
    """Start a server that is ended with the session; settings are given without their prefix.

    Args of what is yielded:
        command: by default `RUN` with the tiny bundle.
        folder: where its temporary files go.
        variables: more of its environment.
    """
    servers: list[Server] = []

    def start(
        command: list[str] | None = None,
        folder: Path | None = None,
        variables: dict[str, str] | None = None,
        **settings: object,
    ) -> Server:
        port = free_port()
        log_file = tmp_path_factory.mktemp("logs") / "server.log"
        given = {f"PINNACE_{name.upper()}": str(value) for name, value in settings.items()}
        server = Server.start(
            command or [sys.executable, "-c", RUN, str(bundle)],
            port,
            log_file,
            env={
                **environment,
                "TMPDIR": str(folder or environment["TMPDIR"]),
                "PINNACE_PORT": str(port),
                "PINNACE_HOST": "127.0.0.1",
                **(variables or {}),
                **given,
            },
            cwd=REPOSITORY,
        )
        servers.append(server)
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    """The server that most tests ask: small limits, one process, two images at once."""
    limits = {"max_body_bytes": 200_000, "max_pixels": 90_000, "max_batch_images": 4}
    limits |= {"max_header_bytes": 16_000, "header_timeout": 2, "upload_timeout": 2}
    server = start_server(workers=1, concurrency=2, drain=0.1, explain=True, **limits)
    server.wait_until_ready()
    return server


@pytest.fixture(scope="module")
def small_server(start_server: StartServer) -> Iterator[Server]:
    """A server with room for three images."""
    server = start_server(workers=1, concurrency=1, queue=2, drain=0)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client
