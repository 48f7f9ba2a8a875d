"""What a server with two workers has answered stands in its record, row for row."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from support.command_line import PINNACE, CommandLine
from support.tiny_bundle import build_bundle, encode

COLOURS = [(250, 10, 20), (10, 240, 20), (10, 20, 240), (250, 250, 250), (5, 5, 5), (200, 30, 90)]


@pytest.mark.slow
def test_every_answer_has_its_row(start_server: Any, pinnace: CommandLine, tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "tiny.bundle")
    command = [*PINNACE, "serve", str(bundle), "--record", str(tmp_path / "record"), "--record-images"]
    server = start_server(command, workers=2, concurrency=1, drain=0, record_seconds=0.2)
    server.wait_until_ready()
    expected: dict[str, Any] = {}
    for number, colour in enumerate(COLOURS):
        with httpx.Client(base_url=server.url, timeout=20) as client:
            name, image = f"request-{number}", encode(colour)
            headers = {"X-Request-ID": name}
            if number == 1:
                answer = client.post("/classify_batch", files=[("images", image)], headers=headers)
                answer = answer.json()["results"][0]
            elif number == 2:
                given = {"name": "image", "shape": [1], "datatype": "BYTES"}
                given["parameters"] = {"binary_data_size": len(image) + 4}  # type: ignore[assignment]
                head = json.dumps({"inputs": [given]}).encode()
                sent = head + len(image).to_bytes(4, "little") + image
                headers["Inference-Header-Content-Length"] = str(len(head))
                assert client.post("/v2/models/tiny/infer", content=sent, headers=headers).status_code == 200
                answer = client.post("/classify?top_k=5", content=image).json()
            else:
                answer = client.post("/classify", content=image, headers=headers).json()
            expected[name] = hashlib.sha256(image).hexdigest(), answer
            assert client.post("/classify", content=b"no image").status_code == 415
            scores = client.post("/classify?format=hf&function_to_apply=none", content=image)
            assert scores.status_code == 200, scores.text  # numbers of another kind, so without a row
    count = len(COLOURS) + 1
    deadline = time.monotonic() + 20
    while f'outcome="written"}} {count}.0' not in (text := httpx.get(f"{server.url}/metrics").text):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    again = pinnace("replay", tmp_path / "record", "--url", server.url, "--json").json
    assert (again["pictures"], again["flipped"], again["mean_change"]) == (len(COLOURS), 0, 0)
    server.stop()
    count += len(COLOURS)  # the server records what it is asked again, too
    rows = [row for path in tmp_path.glob("record/rows/*") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == count
    named = {row["request_id"]: row for row in rows if row["request_id"] in expected}
    assert set(named) == set(expected)
    for name, (sha256, answer) in expected.items():
        row = named[name]
        assert row["predictions"] == answer["predictions"]
        assert [row[key] for key in ("model", "version", "variant", "runtime", "sha256")] == [
            *(answer[key] for key in ("model", "version", "variant", "runtime")),
            sha256,
        ]
        assert (row["format"], row["width"], row["height"]) == ("PNG", 20, 14)
    kept = {
        row["sha256"] for path in tmp_path.glob("record/images/*") for row in pq.read_table(path).to_pylist()
    }
    assert kept == {sha256 for sha256, _ in expected.values()}
