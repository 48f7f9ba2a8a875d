"""A server that writes a line for each request, and sends traces to a collector that stands here."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

TRACE = "0af7651916cd43dd8448eb211c80319c"
STAGES = ["queue", "decode", "preprocess", "infer"]


class Collector(ThreadingHTTPServer):
    """Takes what is exported by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources: list[dict[str, str]] = []
        self.spans: list[Any] = []

    def of_trace(self, trace: str, count: int) -> list[Any]:
        """The spans of one trace, once there are so many."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [span for span in self.spans if span.trace_id.hex() == trace]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        pytest.fail(f"of {count} spans, {len(found)} came")


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.resources.append(
                {item.key: item.value.string_value for item in resource.resource.attributes}
            )
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def observed(start_server: Any, collector: Collector) -> Iterator[Any]:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    server = start_server(workers=1, concurrency=1, drain=0, access_log=True, variables=variables)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def asked(observed: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=observed.url, timeout=20) as client:
        yield client


def lines_of(server: Any, request_id: str, count: int = 1) -> list[dict[str, Any]]:
    """The lines of the log that name a request, all of them JSON."""
    deadline = time.monotonic() + 10
    found: list[dict[str, Any]] = []
    while time.monotonic() < deadline and len(found) < count:
        objects = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        found = [one for one in objects if one.get("request_id") == request_id]
        time.sleep(0.05)
    return found


def test_a_request_has_one_line(
    observed: Any,
    asked: httpx.Client,
) -> None:
    image = encode((250, 10, 20))
    answer = asked.post("/classify?top_k=1", content=image, headers={"X-Request-ID": "order-7/a"})
    assert answer.headers["x-request-id"] == "order-7/a"
    (line,) = lines_of(observed, "order-7/a")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    expected = {
        **{"level": "info", "logger": "pinnace.access", "message": "POST /classify 200", "status": 200},
        **{"client": "127.0.0.1", "method": "POST", "path": "/classify", "route": "/classify"},
        **{"model": "tiny", "variant": "onnx-fp32", "runtime": "onnxruntime", "bytes": len(answer.content)},
        "version": answer.json()["version"],
        "timing_ms": answer.json()["timing_ms"],
    }
    assert expected.items() <= line.items()
    assert line["duration_ms"] >= line["timing_ms"]["total"]


def test_a_refusal_says_why(observed: Any, asked: httpx.Client) -> None:
    path = "/models/x" + "y" * 600 + "/classify"
    asked.post(path, content=b"abc", headers={"X-Request-ID": "wrong"})
    (line,) = lines_of(observed, "wrong")
    assert (line["status"], line["code"], line["route"]) == (404, "unknown_model", "/models/{name}/classify")
    assert line["path"] == path[:500]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ('a b"c{}\\%s<é>', "abcs"),
        ("x" * 500, "x" * 128),
        ("", None),
        ("???", None),
        (None, None),
    ],
)
def test_ids_are_made_or_mended(asked: httpx.Client, given: str | None, named: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given.encode("latin-1")}
    seen = {asked.get("/livez", headers=headers).headers["x-request-id"] for _ in range(2)}  # type: ignore[arg-type]
    if named is not None:
        assert seen == {named}
    else:
        assert len(seen) == 2
        assert all(re.fullmatch("[0-9a-f]{16}", one) for one in seen)


def test_health_writes_no_line(observed: Any, asked: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/v2/health/ready"):
        asked.get(path, headers={"X-Request-ID": "probe"})
    asked.get("/v2", headers={"X-Request-ID": "after"})
    assert lines_of(observed, "after")
    assert lines_of(observed, "probe", 0) == []


def test_without_lines_an_error_still_names_its_request(
    server: Any, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio
    import logging

    from pinnace.serving.observability.request_log import RequestLog, configure_logging
    from pinnace.serving.routes import RouteTable

    handler = logging.StreamHandler()
    logger = logging.getLogger("pinnace.test")
    logger.addHandler(handler)
    configure_logging([handler], lines=False)

    async def app(*_: Any) -> None:
        logger.error("%s failed", "it")
        logger.error("%s", "/a\nINFO: b\x1b[2J")

    async def nothing(*_: Any) -> Any:
        return None

    scope = {"type": "http", "path": "/", "method": "GET", "headers": [(b"x-request-id", b"seven")]}
    asyncio.run(RequestLog(app, lines=False, routes=RouteTable([]))(scope, nothing, nothing))
    logger.removeHandler(handler)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["it failed [request seven]", "/a\\nINFO: b\\x1b[2J [request seven]"]
    before = server.log
    client.post("/classify", content=b"abc", headers={"X-Request-ID": "silent"})
    assert server.log == before


def test_an_image_is_a_span_with_its_stages_below(
    observed: Any,
    asked: httpx.Client,
    collector: Collector,
) -> None:
    image = encode((10, 20, 240))
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "traced"}
    answer = asked.post("/classify", content=image, headers=headers)
    timing = answer.json()["timing_ms"]
    spans = {span.name: span for span in collector.of_trace(TRACE, 6)}
    (line,) = lines_of(observed, "traced")
    assert line["trace_id"] == TRACE
    whole = spans.pop("image")
    stages = [spans.pop(name) for name in STAGES]
    (request,) = spans.values()
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert whole.parent_span_id == request.span_id
    assert {item.key: item.value.string_value for item in whole.attributes} == {
        "pinnace.model": "tiny",
        "pinnace.version": answer.json()["version"],
        "pinnace.variant": "onnx-fp32",
        "pinnace.runtime": "onnxruntime",
    }
    for name, span in zip(STAGES, stages, strict=True):
        assert span.parent_span_id == whole.span_id
        assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6 == pytest.approx(
            timing[name], abs=1e-3
        )
    assert [one.end_time_unix_nano for one in stages[:-1]] == [one.start_time_unix_nano for one in stages[1:]]
    assert request.start_time_unix_nano <= whole.start_time_unix_nano
    assert whole.end_time_unix_nano <= request.end_time_unix_nano
    resource = collector.resources[-1]
    assert (resource["service.name"], resource["deployment.environment"]) == ("pinnace", "test")


def test_what_is_not_sampled_is_not_sent(
    asked: httpx.Client,
    collector: Collector,
) -> None:
    trace = TRACE.replace("0af", "fff")
    asked.post("/classify", content=encode((1, 2, 3)), headers={"traceparent": f"00-{trace}-{'1' * 16}-00"})
    batch = [("images", encode((1, 2, 3)))] * 2
    later = TRACE.replace("0af", "aaa")
    asked.post("/classify_batch", files=batch, headers={"traceparent": f"00-{later}-{'1' * 16}-01"})
    names = sorted(span.name for span in collector.of_trace(later, 11))
    assert names.count("image") == names.count("infer") == 2
    assert not [span for span in collector.spans if span.trace_id.hex() == trace]


def test_a_missing_exporter_is_said_and_nothing_stops(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pinnace.serving.bentoml.tracing import tracer_provider

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert tracer_provider() is None
    assert "pip install opentelemetry-exporter-otlp-proto-grpc" in caplog.text
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracer_provider() is None
