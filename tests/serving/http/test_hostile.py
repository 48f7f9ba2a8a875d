"""Odd and hostile files, sent to a real server with the limits that it has by default."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from support import hostile_files
from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

CODES = {400: "undecodable_image", 413: "image_too_large", 415: "unsupported_image_type"}
CASES = hostile_files.cases()
RED = (250, 10, 20)


@pytest.fixture(scope="module")
def open_server(start_server: Any) -> Iterator[tuple[httpx.Client, psutil.Process, Any]]:
    server = start_server(workers=1, concurrency=2, drain=0)
    server.wait_until_ready()
    [worker] = psutil.Process(server.process.pid).children()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client, worker, server
    server.stop()


def expected(data: bytes) -> np.ndarray:
    """The logits, with the pixels from torchvision and the model in NumPy."""
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        image = Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    transform = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize((8, 8), torchvision.transforms.InterpolationMode.BILINEAR),
            torchvision.transforms.PILToTensor(),
        ]
    )
    pixels = transform(image.convert("RGB")).numpy().astype(np.float32)
    weights = np.array([[3, -1, -1], [-1, 3, -1], [-1, -1, 3], [1, 1, 1], [-1, -1, -1]], np.float32)
    bias = np.array([0.0, 0.1, 0.2, -0.5, -0.4], np.float32)
    logits: np.ndarray = weights @ ((pixels / 255 - 0.5) / 0.5).mean(axis=(1, 2)) + bias
    return logits


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_has_its_status_and_the_next_request_is_served(
    open_server: tuple[httpx.Client, psutil.Process, Any], case: Any
) -> None:
    client, worker, _ = open_server
    response = client.post("/classify", content=case.data)
    assert response.status_code == case.status, response.text
    if case.status == 200:
        logits = expected(case.data)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        answer = {p["index"]: p["probability"] for p in response.json()["predictions"]}
        np.testing.assert_allclose([answer[i] for i in range(5)], probabilities, rtol=1e-4)
    else:
        error = response.json()["error"]
        assert error["code"] == CODES[case.status]
        assert error["message"]
    after = client.post("/classify", content=encode(RED))
    assert after.json()["predictions"][0]["label"] == "reddish"
    assert worker.is_running()


def test_none_of_them_left_a_trace(open_server: tuple[httpx.Client, psutil.Process, Any]) -> None:
    client, worker, server = open_server
    assert client.get("/readyz").status_code == 200
    assert "Traceback" not in server.log
    assert "Warning" not in server.log
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    assert peak < 600_000, f"{peak} kB at the peak"


def test_good_and_bad_in_one_batch(open_server: tuple[httpx.Client, psutil.Process, Any]) -> None:
    client, _, _ = open_server
    for start in range(0, len(CASES), 50):
        some = CASES[start : start + 50]
        response = client.post("/classify_batch", files=[("images", case.data) for case in some])
        results = response.json()["results"]
        codes = [one["error"]["code"] if "error" in one else None for one in results]
        assert codes == [CODES.get(case.status) for case in some]
