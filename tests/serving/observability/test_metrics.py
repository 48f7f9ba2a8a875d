"""What Prometheus reads from two workers, as its own parser understands it."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from pinnace.serving.bentoml.route_metrics import RouteMetrics
from pinnace.serving.http.route_families import route_table
from pinnace.serving.observability import metrics
from pinnace.serving.routes import RouteTable
from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

MODEL = {"model": "tiny", "variant": "onnx-fp32", "runtime": "onnxruntime"}
STAGES = ("decode", "preprocess", "queue", "infer")


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, url: str) -> None:
        text = httpx.get(f"{url}/metrics", timeout=20).text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name whose labels are these, and perhaps more."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def two_workers(start_server: Any) -> Iterator[Any]:
    server = start_server(workers=2, concurrency=1, drain=0)
    server.wait_until_ready()
    yield server
    server.stop()


def test_two_workers_add_up_under_load(two_workers: Any) -> None:
    image = encode((250, 10, 20))
    before = Scrape(two_workers.url)
    timings: list[dict[str, float]] = []
    done = threading.Event()

    def ask(_: int) -> None:
        # A connection each: a worker keeps those that it has accepted.
        with httpx.Client(base_url=two_workers.url, timeout=20) as client:
            for _ in range(5):
                answer = client.post("/classify", content=image)
                timings.append(answer.json()["timing_ms"])
            batch = client.post("/classify_batch", files=[("images", image), ("images", b"no image")])
            timings.append(batch.json()["results"][0]["timing_ms"])
            assert client.post("/classify", content=b"no image").status_code == 415

    def scrape() -> int:
        seen = 0
        last = 0.0
        while not done.is_set():
            images = Scrape(two_workers.url).sum("pinnace_images_total", outcome="ok")
            assert images >= last
            last, seen = images, seen + 1
        return seen

    with ThreadPoolExecutor(13) as pool:
        scraped = pool.submit(scrape)
        list(pool.map(ask, range(12)))
        done.set()
        assert scraped.result() > 0
    after = Scrape(two_workers.url)

    def more(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    assert len(timings) == 72
    assert more("pinnace_images_total", **MODEL, outcome="ok") == 72
    assert more("pinnace_images_total", **MODEL, outcome="unsupported_image_type") == 24
    assert more("pinnace_image_seconds_count", **MODEL) == 72
    for stage in STAGES:
        assert more("pinnace_stage_seconds_count", **MODEL, stage=stage) == 72
        expected = sum(timing[stage] for timing in timings) / 1000
        assert more("pinnace_stage_seconds_sum", stage=stage) == pytest.approx(expected, abs=1e-4)
    total = sum(timing["total"] for timing in timings) / 1000
    assert more("pinnace_image_seconds_sum", **MODEL) == pytest.approx(total, abs=1e-4)
    assert more("pinnace_image_seconds_bucket", le="+Inf") == 72
    requests = "bentoml_service_request_total"
    assert more(requests, endpoint="/classify", http_response_code="200") == 60
    assert more(requests, endpoint="/classify", http_response_code="415") == 12
    assert more(requests, endpoint="/classify_batch", http_response_code="200") == 12
    assert after.sum("pinnace_images_in_flight") == after.sum("pinnace_images_queued") == 0
    assert after.sum("pinnace_slots") == 2


def test_what_waits_is_seen_while_it_waits(two_workers: Any) -> None:
    large = encode((1, 2, 3), (2000, 2000), "JPEG")

    enough = threading.Event()

    def ask(_: int) -> set[int]:
        statuses = set()
        while not enough.is_set():
            reply = httpx.post(f"{two_workers.url}/classify", content=large, timeout=30)
            statuses.add(reply.status_code)
        return statuses

    seen: list[tuple[float, float]] = []
    end = time.monotonic() + 30
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, one) for one in range(8)]
        while not any(queued > 0 for _, queued in seen) and time.monotonic() < end:
            scrape = Scrape(two_workers.url)
            seen.append((scrape.sum("pinnace_images_in_flight"), scrape.sum("pinnace_images_queued")))
        enough.set()
        assert set().union(*(one.result() for one in asked)) == {200}
    assert max(in_flight for in_flight, _ in seen) <= 8
    assert max(queued for _, queued in seen) > 0
    assert any(queued < in_flight for in_flight, queued in seen)
    assert Scrape(two_workers.url).sum("pinnace_images_in_flight") == 0


def test_the_header_says_what_the_body_says(client: httpx.Client) -> None:
    answer = client.post("/classify", content=encode((1, 2, 3)))
    entries = dict(entry.split(";dur=") for entry in answer.headers["server-timing"].split(", "))
    assert {name: float(value) for name, value in entries.items()} == answer.json()["timing_ms"]


def test_whatever_is_asked_for_the_labels_stay_few(two_workers: Any) -> None:
    for path in ("/models/a/classify", "/models/b/classify", "/x/1", "/x/2", "/models/a/b/reload"):
        httpx.post(two_workers.url + path)
    endpoints = {
        sample.labels["endpoint"] for sample in Scrape(two_workers.url).samples if "endpoint" in sample.labels
    }
    assert {route_table().label(path) for path in endpoints} <= endpoints | {"other"}
    assert {"/models/{name}/classify", "/models/{name}/reload", "other"} <= endpoints
    assert not any("/x/" in path or "/a/" in path for path in endpoints)


def test_a_worker_that_was_killed_has_nothing_in_flight(tmp_path: Path) -> None:
    code = """
import os, sys
from pinnace.serving.observability.metrics import Metrics
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
metrics = Metrics()
metrics.start(1)
metrics.in_flight(int(sys.argv[1]))
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode(), flush=True)
os._exit(9)
"""

    def worker(images: int) -> str:
        command = [sys.executable, "-c", code, str(images)]
        env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=60, check=False
        ).stdout

    assert "pinnace_images_in_flight 7.0" in worker(7)
    assert "pinnace_images_in_flight 2.0" in worker(2)


def test_the_dashboard_asks_for_what_there_is(two_workers: Any) -> None:
    httpx.post(f"{two_workers.url}/classify", content=encode((1, 2, 3)))
    scrape = Scrape(two_workers.url)
    labels = {sample.name: set(sample.labels) for sample in scrape.samples}
    # Nothing is reloaded, watched, explained, recorded or shadowed here, so these have no sample yet.
    labels["pinnace_explanations_total"] = {"model", "variant", "runtime", "outcome"}
    labels["pinnace_record_rows_total"] = {"outcome"}
    labels["pinnace_reloads_total"] = {"model", "outcome"}
    labels["pinnace_bundle_checks_total"] = {"model", "outcome"}
    labels["pinnace_shadow_total"] = {"model", "version", "shadow", "outcome"}
    labels["pinnace_shadow_distance_bucket"] = {"model", "version", "shadow", "le"}
    dashboard = json.loads((Path(metrics.__file__).parent / "grafana.json").read_text(encoding="utf-8"))
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    taken = [
        (x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [one["definition"] for one in dashboard["templating"]["list"] if "definition" in one]
    used = set()
    for query in asked:
        assert query.count("(") == query.count(")")
        names = re.findall(r"\b(?:pinnace|bentoml)_\w+", query)
        assert names
        for name in names:
            assert name in labels, name
        wanted = set(re.findall(r'(\w+)\s*[!=]~?\s*"', query)) - {"job"}
        for group in re.findall(r"by \(([^)]*)\)", query):
            wanted |= set(group.split(", "))
        assert all(wanted - {"le"} <= labels[name] for name in names), query
        used |= set(names)
    ours = {name for name in labels if name.startswith("pinnace_")}
    left = {name for name in ours if not any(name.startswith(one.removesuffix("_bucket")) for one in used)}
    assert {name for name in left if not name.endswith("_created")} == set()


def test_a_scrape_while_a_worker_makes_its_files_is_tried_again() -> None:
    """`prometheus_client` makes a file first, and gives it a size then."""
    asked = 0

    async def numbers(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            struct.unpack("i", b"")
        await PlainTextResponse("numbers")(scope, receive, send)

    client = TestClient(
        RouteMetrics(numbers, RouteTable([]), lambda made: None, namespace="n", skip_paths=[])
    )
    assert client.get("/metrics").text == "numbers"
    assert asked == 3
