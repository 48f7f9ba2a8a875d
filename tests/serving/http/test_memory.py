"""What a request has used is free again once it is answered, with Python's collector switched off."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

MEGABYTE = 1_000_000
TIMES = 50  # each holds 4 MB or more, so all of them are twice what is allowed
EDGE = 1200  # 6 MB as Pillow holds it


def cut(format: str, **options: Any) -> bytes:
    """Half of the file of a picture."""
    shades = np.linspace(0, 255, EDGE, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([np.tile(shades, (EDGE, 1))] * 3, 2)).save(buffer, format, **options)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.fixture(scope="module")
def uncollected(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of one worker in which the collector does not run."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "sitecustomize.py").write_text("import gc\n\ngc.disable()\ngc.enable = lambda: None\n")
    variables = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    server = start_server(workers=1, concurrency=2, drain=0, variables=variables)
    server.wait_until_ready()
    yield server
    server.stop()


def resident(server: Any) -> int:
    [worker] = psutil.Process(server.process.pid).children()
    return int(worker.memory_info().rss)


KINDS = {
    "png": (cut("PNG"), 400),
    "jpeg": (cut("JPEG"), 400),
    "progressive": (cut("JPEG", progressive=True), 400),
    "tiff": (cut("TIFF"), 400),
    "deflated tiff": (cut("TIFF", compression="tiff_adobe_deflate"), 400),
    "webp": (cut("WEBP", lossless=True), 400),
    "bmp": (cut("BMP"), 400),
    "gif": (cut("GIF"), 400),
    "a large body of no type": (bytes(4 * MEGABYTE), 415),
    "half of base64": (b'{"image": "' + 1_000_000 * b"QUJD" + b'!"}', 400),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_is_free_at_once(uncollected: Any, kind: str) -> None:
    data, status = KINDS[kind]
    type = "application/json" if data.startswith(b"{") else "image/x"
    with httpx.Client(base_url=uncollected.url, timeout=30, headers={"Content-Type": type}) as client:
        for _ in range(3):
            assert client.post("/classify", content=data).status_code in (status, 200)
        before = resident(uncollected)
        for _ in range(TIMES):
            client.post("/classify", content=data)
            grown = resident(uncollected) - before
            assert grown < 100 * MEGABYTE, f"{grown:,} bytes more after {kind}"


def test_a_large_picture_leaves_nothing_behind(uncollected: Any) -> None:
    """The allocator kept the pages of one in each thread."""
    shades = np.zeros((8000, 8000), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([shades] * 3, 2)).save(buffer, "PNG", compress_level=1)
    whole = buffer.getvalue()  # 256 MB as Pillow holds it
    with httpx.Client(base_url=uncollected.url, timeout=60, headers={"Content-Type": "image/png"}) as client:
        before = resident(uncollected)
        for data, status in 3 * [(whole, 200), (whole[: len(whole) // 2], 400)]:
            assert client.post("/classify", content=data).status_code == status
    for _ in range(50):  # it is given back once the answer is on its way
        if (grown := resident(uncollected) - before) < 100 * MEGABYTE:
            break
        time.sleep(0.1)
    assert grown < 100 * MEGABYTE, f"{grown:,} bytes more"


def test_a_batch_of_damaged_pictures_is_free_at_once(uncollected: Any) -> None:
    data = KINDS["png"][0]
    files = [("images", ("a.png", data))] * 10
    with httpx.Client(base_url=uncollected.url, timeout=30) as client:
        client.post("/classify_batch", files=files)
        before = resident(uncollected)
        for _ in range(TIMES // 10):
            assert client.post("/classify_batch", files=files).status_code == 200
        assert resident(uncollected) - before < 100 * MEGABYTE
        assert client.post("/classify", content=encode((250, 10, 20))).status_code == 200
