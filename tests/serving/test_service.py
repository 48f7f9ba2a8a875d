"""What BentoML gives a real server, beside our routes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest

from support.tiny_bundle import encode


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_metrics_count_our_route(client: httpx.Client) -> None:
    client.post("/classify", content=encode((1, 2, 3)))
    response = client.get("/metrics")
    assert response.status_code == 200
    counted = [line for line in response.text.splitlines() if 'endpoint="/classify"' in line]
    assert any(line.startswith("bentoml_service_request_total{") for line in counted)
    assert any('http_response_code="200"' in line for line in counted)


def test_docs_json_describes_classify_and_the_health_routes(client: httpx.Client) -> None:
    spec = client.get("/docs.json").json()
    assert spec["openapi"].startswith("3.")
    assert {"/", "/classify", "/livez", "/readyz", "/metrics"} <= set(spec["paths"])
    post = spec["paths"]["/classify"]["post"]
    assert set(post["requestBody"]["content"]) == {
        "multipart/form-data",
        "image/*",
        "application/octet-stream",
        "application/json",
    }
    assert set(post["responses"]) == {
        "200",
        *("400", "401", "408", "413", "415", "422", "431", "500", "503", "504"),
    }
    assert {"Answer", "Error", "Prediction"} <= set(spec["components"]["schemas"])
    assert spec["info"]["title"] == "Pinnace: tiny"


def test_every_reference_in_docs_json_leads_somewhere(client: httpx.Client) -> None:
    spec = client.get("/docs.json").json()
    found = list(references(spec))
    assert found
    for reference in found:
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in spec["components"][kind]


def references(value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_answer_has_the_keys_that_docs_json_promises(client: httpx.Client) -> None:
    schemas = client.get("/docs.json").json()["components"]["schemas"]
    promised = schemas["Answer"]
    answer = client.post("/classify", content=encode((1, 2, 3))).json()
    assert list(answer) == promised["required"]
    assert promised["properties"]["timing_ms"] == {"$ref": "#/components/schemas/Timing"}
    assert list(answer["timing_ms"]) == schemas["Timing"]["required"]


def test_the_index_says_what_is_served(client: httpx.Client) -> None:
    index = client.get("/").json()
    assert index["model"] == "tiny"
    assert index["variant"] == "onnx-fp32"
    assert index["classes"] == 5


def test_nothing_is_sent_home(environment: dict[str, str]) -> None:
    code = (
        "from bentoml._internal.utils.analytics import usage_stats; assert not usage_stats.do_not_track();"
        "import pinnace.serving.service; assert usage_stats.do_not_track()"
    )
    env = {name: value for name, value in environment.items() if name != "BENTOML_DO_NOT_TRACK"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)


def test_serving_needs_no_torch(environment: dict[str, str]) -> None:
    code = "import sys, pinnace.serving.service; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
