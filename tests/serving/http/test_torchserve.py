"""TorchServe's routes beside what TorchServe 0.12 answered to the same requests.

The answers were recorded by hand with `curl` from torchserve 0.12.0 and a `.mar` of EfficientNet-Lite0;
`benchmarks/beside_torchserve.py` asks both again.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from pinnace.models.errors import PinnaceError
from pinnace.serving.http.route_families import route_table
from pinnace.serving.http.route_families.torchserve import error_form
from support.server import Server
from support.tiny_bundle import encode, logits_of

RED = (250, 10, 20)
ANSWER = {
    "palace": 0.28867673873901367,
    "bell cote": 0.1925039440393448,
    "castle": 0.10602498799562454,
    "church": 0.07110296934843063,
    "monastery": 0.06474011391401291,
}
NO_MODEL = {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: nosuch"}
NO_VERSION = {
    "code": 404,
    "type": "ModelVersionNotFoundException",
    "message": "Model version: 9.9 does not exist for model: lite0",
}
MODEL = {
    "modelName": "lite0",
    "modelVersion": "1.0",
    "modelUrl": "lite0.mar",
    "runtime": "python",
    "minWorkers": 1,
    "maxWorkers": 1,
    "batchSize": 1,
    "responseTimeout": 120,
    "loadedAtStartup": True,
    "workers": [{"id": "9000", "status": "READY"}],
}


@pytest.fixture(scope="module")
def server(start_server, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:  # type: ignore[no-untyped-def]
    """A server whose bundle says that it was made of version 1.0 in an archive."""
    folder = tmp_path_factory.mktemp("archived") / "tiny.bundle"
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["source"] = "torchserve:store/tiny.mar@1.0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(folder), "--torchserve"]
    server: Server = start_server(command, workers=1)
    server.wait_until_ready()
    return server


@pytest.fixture(scope="module")
def ask(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def expected(colour: tuple[int, int, int]) -> dict[str, float]:
    logits = logits_of(colour).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    names = ("reddish", "greenish", "bluish", "bright", "dark")
    return {names[index]: float(shares[index]) for index in np.argsort(-shares)}


def same(answer: httpx.Response, colour: tuple[int, int, int] = RED) -> None:
    assert answer.status_code == 200, answer.text
    found, right = answer.json(), expected(colour)
    assert list(found) == list(right)
    np.testing.assert_allclose(list(found.values()), list(right.values()), rtol=1e-4)


@pytest.mark.parametrize("path", ["/predictions/tiny", "/predictions/tiny/1.0"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_raw_body_or_a_field(ask: httpx.Client, method: str, path: str) -> None:
    image = encode(RED)
    for kind in ({}, {"Content-Type": "image/jpeg"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        same(ask.request(method, path, content=image, headers=kind))
    for field in ("data", "body"):
        same(ask.request(method, path, files={field: ("x.png", image)}))


def test_what_torchserve_takes_besides(ask: httpx.Client) -> None:
    image, other = encode(RED), encode((0, 0, 255))
    path = "/predictions/tiny"
    text = base64.b64encode(image)
    same(ask.post(path, content=text, headers={"Content-Type": "text/plain"}))
    same(ask.post(path, content=image, headers={"Content-Type": "application/json"}))
    same(ask.post(path, files=[("body", ("b", other)), ("data", ("a", other)), ("data", ("a", image))]))
    same(ask.post(path, files={"data": ("a", image), "note": ("n", b"x")}, params={"data": "abc"}))


def test_the_bytes_are_readable_json_as_there(ask: httpx.Client) -> None:
    answer = ask.post("/predictions/tiny", content=encode(RED))
    assert answer.text == json.dumps(answer.json(), indent=2) + "\n"
    assert [type(value) for value in ANSWER.values()] == [type(value) for value in answer.json().values()]


def test_curl_as_people_type_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(encode(RED))
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", f"{server.url}/predictions/tiny", "-T", str(tmp_path / "red.png")]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    assert list(answer) == list(expected(RED))


def test_models_and_versions_that_are_not_there_have_its_words(ask: httpx.Client) -> None:
    for method, path in (("POST", "/predictions/nosuch"), ("GET", "/models/nosuch")):
        answer = ask.request(method, path)
        assert (answer.status_code, answer.json()) == (404, NO_MODEL)
    right = {**NO_VERSION, "message": "Model version: 9.9 does not exist for model: tiny"}
    for method, path in (("PUT", "/predictions/tiny/9.9"), ("GET", "/models/tiny/9.9")):
        answer = ask.request(method, path, content=encode(RED) if method == "PUT" else None)
        assert (answer.status_code, answer.json()) == (404, right)


@pytest.mark.parametrize("mode", ["L", "LA", "CMYK", "RGBA", "P", "1", "I;16"])
def test_pictures_on_which_torchserve_fails_are_answered(ask: httpx.Client, mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.new(mode, (20, 20))
    picture.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    if mode == "CMYK":
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG")
    answer = ask.post("/predictions/tiny", content=buffer.getvalue())
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == 5


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": b""}, 422, "the body is empty"),
        ({"content": b"not an image"}, 415, "image"),
        ({"content": encode(RED)[:60]}, 400, "image"),
        ({"files": {"image": ("x", encode(RED))}}, 422, "neither a field data nor a field body"),
        ({"data": {"data": "!"}, "files": {"x": ("x", b"x")}}, 400, "base64"),
        ({"json": {"instances": [{"data": ""}]}}, 422, "no field data or body"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not JSON"),
    ],
)
def test_what_is_wrong_is_said_and_no_503(
    ask: httpx.Client, request_: dict[str, object], status: int, words: str
) -> None:
    answer = ask.post("/predictions/tiny", **request_)  # type: ignore[arg-type]
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, status), answer.text
    assert body["type"] == "BadRequestException"
    assert words in body["message"]


def test_wrong_methods_and_paths_have_its_form(ask: httpx.Client) -> None:
    answer = ask.get("/predictions/tiny")
    assert (answer.status_code, answer.json()["type"]) == (405, "MethodNotAllowedException")
    answer = ask.post("/predictions")
    assert (answer.status_code, answer.json()["type"]) == (404, "ResourceNotFoundException")


def test_a_model_and_the_list_of_them_as_its_management_api_has_them(ask: httpx.Client) -> None:
    (model,) = ask.get("/models/tiny").json()
    assert set(model) == set(MODEL)
    assert (model["modelName"], model["modelVersion"], model["modelUrl"]) == ("tiny", "1.0", "tiny.mar")
    assert [worker["status"] for worker in model["workers"]] == ["READY"]
    assert ask.get("/models/tiny/1.0").json() == [model]
    (both,) = ask.get("/models").json()["models"]
    assert (both["modelName"], both["modelUrl"], both["name"]) == ("tiny", "tiny.mar", "tiny")


def test_ping_and_the_description(ask: httpx.Client) -> None:
    assert ask.get("/ping").text == '{\n  "status": "Healthy"\n}\n'
    document = ask.options("/").json()
    assert document["info"]["title"] == "TorchServe APIs"
    there = {"/", "/ping", "/predictions/{name}", "/predictions/{name}/{version}", "/models/{name}"}
    assert there <= set(document["paths"])
    assert set(document["paths"]["/predictions/{name}"]) == {"post", "put"}
    assert "/predictions/{name}" in ask.get("/docs.json").json()["paths"]
    assert "POST /predictions/{name}" in ask.get("/").json()["routes"]


def test_they_are_counted_by_their_template(ask: httpx.Client) -> None:
    ask.post("/predictions/tiny/1.0", content=encode(RED))
    assert 'endpoint="/predictions/{name}/{version}"' in ask.get("/metrics").text


def test_without_the_setting_there_is_none_of_it() -> None:
    usual, more = route_table(), route_table(["torchserve"])
    assert usual.find("/predictions/tiny") is None
    assert usual.find("/models/tiny") is None
    assert more.label("/predictions/tiny") == "/predictions/{name}"
    assert more.label("/models/tiny/classify") == "/models/{name}/classify"
    assert more.is_open("/ping")
    assert not more.is_open("/predictions/tiny")


def test_every_error_has_a_status_in_its_form() -> None:
    kinds: list[type[PinnaceError]] = [PinnaceError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds:
        body = error_form({"error": {"code": kind.code, "message": "m", "hint": "h"}})
        assert body["message"] == "m; h"
        assert body["code"] == kind.http_status
    starved = error_form({"error": {"code": "overloaded", "message": "m", "hint": None}})
    assert starved == {"code": 503, "type": "ServiceUnavailableException", "message": "m"}
