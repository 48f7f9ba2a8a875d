"""Two models in one server, asked by name: by the client, by the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace.clients import Client
from support.command_line import PINNACE
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


def test_the_clients_ask_by_name(two: Server, tmp_path: Path) -> None:
    image = tmp_path / "red.png"
    image.write_bytes(encode((250, 10, 20)))
    with Client(two.url) as client:
        assert [model.name for model in client.models()] == ["tiny", "a second/model"]
        one = client.classify(image, model="a second/model")
        (of_batch,) = client.classify_batch([image], model="a second/model")
        assert (one.model, of_batch.model) == ("a second/model",) * 2  # type: ignore[union-attr]
        assert one.version == client.models()[1].version
    asked = [*PINNACE, "classify", str(image), "--url", two.url, "--json"]
    for extra, name in ([], "tiny"), (["--model", "a second/model"], "a second/model"):
        out = subprocess.run([*asked, *extra], capture_output=True, text=True, check=True, timeout=60)
        assert json.loads(out.stdout)[0]["model"] == name
    wrong = subprocess.run(
        [*asked, "--model", "third"], capture_output=True, text=True, timeout=60, check=False
    )
    assert wrong.returncode == 2
    assert "no model is named 'third' here" in wrong.stderr + wrong.stdout
