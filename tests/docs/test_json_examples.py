"""The JSON that the pages show has the keys, in their order, of what a server writes, and its runtime."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pinnace.models.answer import Embedding, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.selection import answering, select
from pinnace.serving.http.route_families.embed import embedding_body
from support.command_line import PINNACE
from support.pages import outline
from support.ports import free_port
from support.server import Server, clean_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CAT = ROOT / "models" / "photographs" / "cat.jpg"


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def example(page: str, beginning: str) -> dict[str, Any]:
    """The JSON of a page that begins so, indented or not; `...` stands for more of a list or an object."""
    pattern = rf"^ *({re.escape(beginning)}.*?}})\n(?=\n|```)"
    found = re.search(pattern, text_of(page), re.DOTALL | re.MULTILINE)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1].replace(", ...]", "]").replace("{...}", "{}"))
    return read


def shape(value: Any) -> Any:
    """The keys of nested objects, and of the first element of a list."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return shape(value[0]) if isinstance(value, list) else None


@pytest.fixture(scope="module")
def logged(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that logs each request, and says why it answers as it does."""
    home, port = tmp_path_factory.mktemp("logged"), free_port()
    environment = clean_environment(home / "bentoml") | {"PINNACE_ACCESS_LOG": "1"}
    command = [*PINNACE, "serve", str(bundle), "--port", str(port), "--workers", "1", "--explain"]
    server = Server.start(command, port, home / "log", env=environment)
    try:
        server.wait_until_ready(90)
        yield server
    finally:
        server.stop()


def test_an_answer_and_its_line_in_the_log(logged: Server, bundle: Path) -> None:
    answer = httpx.post(f"{logged.url}/classify?top_k=1", content=CAT.read_bytes()).json()
    shown = example("serving.md", '{"model": "resnet50"')
    assert shape(shown) == shape(answer)
    for _ in range(100):  # the line is written once the answer is on its way
        lines = [json.loads(line) for line in logged.log.splitlines() if '"POST /classify 200"' in line]
        if lines:
            break
        time.sleep(0.1)
    in_log = example("operating.md", '{"time": "2026')
    assert shape(in_log) == shape(lines[0])
    opened = Bundle.open(bundle)
    _, runtime = answering(opened, select(opened))
    if runtime == "openvino":  # where that has a wheel
        assert [each["runtime"] for each in (answer, shown, in_log)] == ["openvino"] * 3


def test_the_times_in_the_header(logged: Server) -> None:
    shown = re.findall(r"^    (Server-Timing: .*)$", text_of("operating.md"), re.MULTILINE)
    came = httpx.post(f"{logged.url}/classify", content=CAT.read_bytes()).headers["Server-Timing"]
    assert outline("\n".join(shown)) == outline(f"Server-Timing: {came}")


def test_why(logged: Server) -> None:
    answer = httpx.post(f"{logged.url}/explain?grid=2", content=CAT.read_bytes()).json()
    shown = example(
        "serving.md",
        '{"model": "resnet50", "version": "5b0ab5b9d35c", "variant": "onnx-fp32", "runtime": "onnxruntime"',
    )
    assert shape(shown) == shape(answer | {"timing_ms": {}})


def test_a_reload(logged: Server) -> None:
    answer = httpx.post(f"{logged.url}/models/colours/reload", timeout=60).json()
    assert shape(example("serving.md", '{"model": "resnet50", "version": "c77a2d9e01f4"')) == shape(answer)


def test_what_a_server_says_when_it_starts(server: Server) -> None:
    shown = re.findall(r"^    (resnet50 (?:answers|is) .*)$", text_of("serving.md"), re.MULTILINE)
    came = server.log.replace("colours", "resnet50").replace(f":{server.port}", ":3000")
    if "in openvino" in came:  # where that has a wheel
        assert outline("\n".join(shown)) == outline(came)


def test_an_embedding() -> None:
    shown = example("answers.md", '{"model": "embedder"')
    made = Embedding("embedder", "onnx-fp32", "openvino", (0.1,), True, Timing(1.0, 1.0, 1.0, 1.0, 4.0))
    assert shape(shown) == shape(embedding_body(made))
    assert shown["runtime"] == "openvino"
