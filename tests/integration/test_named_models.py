"""Two models in one server, asked by name: by the client, by the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace.clients import Client
from support.command_line import PINNACE, CommandLine
from support.ports import free_port
from support.server import Server, clean_environment
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two models."""
    home = tmp_path_factory.mktemp("two")
    bundles = [
        build_bundle(home / "tiny.bundle"),
        build_bundle(home / "second.bundle", name="a second/model"),
    ]
    port = free_port()
    command = [*PINNACE, "serve", *map(str, bundles), "--port", str(port), "--workers", "1"]
    server = Server.start(command, port, home / "log", env=clean_environment(home / "bentoml"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def test_the_clients_ask_by_name(two: Server, tmp_path: Path, pinnace: CommandLine) -> None:
    image = tmp_path / "red.png"
    image.write_bytes(encode((250, 10, 20)))
    with Client(two.url) as client:
        assert [model.name for model in client.models()] == ["tiny", "a second/model"]
        one = client.classify(image, model="a second/model")
        (of_batch,) = client.classify_batch([image], model="a second/model")
        assert (one.model, of_batch.model) == ("a second/model",) * 2  # type: ignore[union-attr]
        assert one.version == client.models()[1].version
    asked = ("classify", image, "--url", two.url, "--json")
    for extra, name in ((), "tiny"), (("--model", "a second/model"), "a second/model"):
        assert pinnace(*asked, *extra).json[0]["model"] == name
    wrong = pinnace(*asked, "--model", "third")
    assert wrong.status == 2
    assert "no model is named 'third' here" in wrong.err + wrong.out
