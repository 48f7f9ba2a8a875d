"""The OpenAPI description: complete, true of a real server, and readable in Swagger UI."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs
from pinnace.serving.errors import UnknownModel
from pinnace.serving.http.app import create_app
from pinnace.serving.http.openapi.document import Document, ServedDocument, describe
from pinnace.serving.http.route_families import route_table
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import load_settings
from support.command_line import PINNACE
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"
SECONDS = 60


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    answered = client.get("/docs.json")
    assert answered.status_code == 200
    return dict(answered.json())


def test_schemathesis_finds_nothing(
    client: httpx.Client, environment: dict[str, str], tmp_path: Path
) -> None:
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed; it comes with the extra `dev`")
    url = str(client.base_url)
    command = [sys.executable, "-c", PROGRAM, "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{url}/docs.json", "--url", url, "--no-color", "--continue-on-failure"]
    told = subprocess.run(
        command,
        cwd=tmp_path,  # where it leaves what it found
        env={**environment, "PYTHONPATH": os.pathsep.join([str(HERE), environment.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "No issues found" in told.stdout, told.stdout


def test_every_route_is_described(document: dict[str, Any]) -> None:
    app = create_app(route_table(), load_settings(), open_registry=lambda: pytest.fail("no model is needed"))
    routes = {(path, method) for path, methods in _routes(app) for method in methods}
    described = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    # What a classifier does not do is left out where only classifiers are served.
    embedding = {("/embed", "POST"), ("/models/{name}/embed", "POST"), ("/v1/embeddings", "POST")}
    assert routes - described == embedding
    bentoml = {(path, "GET") for path in ("/livez", "/readyz", "/healthz", "/metrics")}
    assert described - routes == bentoml


def test_the_document_is_made_once_for_the_models_that_are_served(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(*args: Any) -> Document:
        made.append(args)
        return describe(*args)

    monkeypatch.setattr("pinnace.serving.http.openapi.document.describe", counted)
    settings = load_settings(bundle=(bundle,))
    served = ServedDocument(route_table(), settings)
    registry = Registry.open(settings, plan(settings))
    try:
        first = served.json(registry)
        assert served.json(registry) is first
        assert json.loads(first) == describe(route_table(), settings, registry)
        other = build_bundle(tmp_path / "tiny.bundle", created="2026-01-02T00:00:00Z")
        registry.model().engine.model.bundle = Bundle.open(other)  # as after a reload
        served.json(registry)
        served.json(registry)
    finally:
        registry.close()
    assert len(made) == 2


def test_a_server_answers_head_without_a_body(client: httpx.Client) -> None:
    whole, head = client.get("/docs.json"), client.head("/docs.json")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.content))
    assert head.headers["content-type"] == whole.headers["content-type"] == "application/json"


def _routes(app: Any) -> list[tuple[str, set[str]]]:
    found = [
        (route.path.replace(":path", ""), route.methods) for route in app.routes if route.path != "/page"
    ]
    return [(path, methods - {"HEAD"}) for path, methods in found]


def test_it_begins_with_what_the_service_is(document: dict[str, Any]) -> None:
    described = document["info"]["description"]
    assert described.startswith(
        "This server takes images and classifies them with tiny, and says where the time"
    )


def test_every_example_works_as_it_is(client: httpx.Client, document: dict[str, Any]) -> None:
    posted = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            filled = path
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    filled = filled.replace(f"{{{parameter['name']}}}", parameter["schema"]["default"])
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                for example in content.get("examples", {}).values():
                    name = example["$ref"].removeprefix("#/components/examples/")
                    body = document["components"]["examples"][name]["value"]
                    assert media_type == "application/json"
                    answered = client.request(method, filled, json=body)
                    assert answered.status_code == 200, (path, answered.text)
                    posted.add(path)
    # All that have a body, but for files of a form, of which there can be no example.
    bodies = {path for path, item in document["paths"].items() if "requestBody" in item.get("post", {})}
    assert bodies - posted == {"/classify_batch", "/models/{name}/classify_batch"}


def test_the_examples_of_embedders_work_too(start_server: Any, tmp_path: Path) -> None:
    outputs = Outputs("embedding", "logits", normalised=False)
    bundle = build_bundle(tmp_path / "vectors.bundle", name="vectors", outputs=outputs)
    server = start_server([*PINNACE, "serve", str(bundle)], workers=1, concurrency=1, drain=0)
    server.wait_until_ready()
    with httpx.Client(base_url=server.url, timeout=20) as client:
        document = client.get("/docs.json").json()
        assert "makes vectors of them with vectors" in document["info"]["description"]
        for path in ("/embed", "/v1/embeddings", "/crop"):
            content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            (example,) = content["examples"].values()
            body = document["components"]["examples"][example["$ref"].rpartition("/")[2]]["value"]
            assert client.post(path, json=body).status_code == 200, path
    server.stop()


def test_every_operation_has_a_name_a_summary_and_one_tag(document: dict[str, Any]) -> None:
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    tags = [tag["name"] for tag in document["tags"]]
    for operation in operations:
        assert operation["summary"]
        assert len(operation["tags"]) == 1
        assert operation["tags"][0] in tags


def test_the_limits_are_those_of_the_server(document: dict[str, Any]) -> None:
    post = document["paths"]["/classify"]["post"]
    top_k, form = post["parameters"]
    assert (top_k["name"], form["name"]) == ("top_k", "format")
    assert (top_k["schema"]["minimum"], top_k["schema"]["maximum"]) == (1, 5)
    batch = document["paths"]["/classify_batch"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert batch["schema"]["properties"]["images"]["maxItems"] == 4
    named = document["paths"]["/models/{name}/reload"]["post"]["parameters"][0]
    assert named["schema"]["enum"] == ["tiny"]


def test_headers_are_described(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]
    assert set(responses["Status503"]["headers"]) == {"Retry-After"}
    assert set(responses["Status401"]["headers"]) == {"WWW-Authenticate"}
    assert f"`{UnknownModel.code}`" in responses["Status404"]["description"]


def test_a_key_is_asked_for_where_one_is_set(document: dict[str, Any]) -> None:
    assert "security" not in document
    locked = describe(route_table(), load_settings(api_key="secret", max_top_k=3), None).asdict()
    assert locked["security"] == [{"bearer": []}, {"key": []}]
    assert set(locked["components"]["securitySchemes"]) == {"bearer", "key"}
    assert locked["paths"]["/readyz"]["get"]["security"] == []
    assert locked["paths"]["/classify"]["post"]["parameters"][0]["schema"]["default"] == 3
    assert "secret" not in str(locked)


@pytest.mark.parametrize("query", ["0", "6", "two"])
def test_a_wrong_top_k_in_the_query_is_refused_where_the_body_has_a_good_one(
    client: httpx.Client, query: str
) -> None:
    image = encode((250, 10, 10))
    answered = client.post(f"/classify?top_k={query}", files={"image": image}, data={"top_k": "2"})
    assert (answered.status_code, answered.json()["error"]["code"]) == (422, "invalid_parameter")
