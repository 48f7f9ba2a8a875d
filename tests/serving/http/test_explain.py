"""`POST /explain`: where the answer comes from, off unless it is asked for, one at a time, in time."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pinnace.models.errors import PinnaceError
from pinnace.serving.errors import LateAnswer, Overloaded
from pinnace.serving.inference.explanation import cover, fields_of
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import load_settings
from support.command_line import PINNACE
from support.server import Server
from support.tiny_bundle import SIZE, build_bundle, encode

ROWS, COLUMNS = slice(4, 6), slice(2, 4)


def spotted(orientation: int = 1) -> bytes:
    """Grey with a red spot where the network of `explaining` looks; stored as the EXIF orientation says."""
    pixels = np.full((10 * SIZE, 10 * SIZE, 3), 128, np.uint8)
    pixels[10 * ROWS.start : 10 * ROWS.stop, 10 * COLUMNS.start : 10 * COLUMNS.stop] = (250, 10, 10)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = image.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else image
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def spot_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose answer depends on one patch."""
    return build_bundle(tmp_path_factory.mktemp("spot") / "spot.bundle", name="spot", seen=(ROWS, COLUMNS))


@pytest.fixture(scope="module")
def explaining(start_server: Any, spot_bundle: Path) -> Any:
    server = start_server([*PINNACE, "serve", str(spot_bundle), "--explain"], workers=1, concurrency=1)
    server.wait_until_ready()
    return server


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_planted_patch_has_the_largest_drop(explaining: Server, orientation: int) -> None:
    picture = spotted(orientation)
    answered = httpx.post(f"{explaining.url}/explain", params={"grid": 4}, content=picture)
    assert answered.status_code == 200, answered.text
    body = answered.json()
    drops = np.array(body["drops"])
    assert drops.shape == (4, 4)
    assert np.unravel_index(drops.argmax(), drops.shape) == (ROWS.start // 2, COLUMNS.start // 2)
    others = np.delete(drops.ravel(), drops.argmax())
    assert np.abs(others).max() < 0.01 * drops.max()
    assert (body["model"], body["label"], body["index"]) == ("spot", "reddish", 0)
    assert body["part"] == {"left": 0, "top": 0, "width": 1, "height": 1}
    first = httpx.post(f"{explaining.url}/classify", content=picture).json()["predictions"][0]
    assert body["probability"] == pytest.approx(first["probability"])
    assert set(body["timing_ms"]) == {"decode", "preprocess", "queue", "infer", "total"}


def test_another_class_loses_nothing_where_it_gains(explaining: Server) -> None:
    asked = {"grid": 4, "index": 1}
    body = httpx.post(f"{explaining.url}/models/spot/explain", params=asked, content=spotted()).json()
    assert body["label"] == "greenish"
    assert np.array(body["drops"])[ROWS.start // 2, COLUMNS.start // 2] < 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"grid": 17}, "grid must be a whole number from 1 to 16, not 17"),
        ({"grid": "0"}, "grid must be a whole number from 1 to 16, not 0"),
        ({"index": "-1"}, "index must be a whole number from 0 to 999999, not -1"),
        ({"index": 5}, "there is no class 5"),
        ({"top_k": 1}, "top_k and threshold mean nothing here"),
    ],
)
def test_what_is_asked_is_checked(explaining: Server, asked: dict[str, Any], message: str) -> None:
    answered = httpx.post(f"{explaining.url}/explain", params=asked, content=spotted())
    assert (answered.status_code, answered.json()["error"]["message"]) == (422, message)


def test_it_is_counted_and_described_where_it_is_on(explaining: Server) -> None:
    httpx.post(f"{explaining.url}/explain", content=b"no image")
    metrics = httpx.get(f"{explaining.url}/metrics").text
    for outcome in ("ok", "unsupported_image_type"):
        labels = f'model="spot",outcome="{outcome}",runtime="onnxruntime",variant="onnx-fp32"'
        assert f"pinnace_explanations_total{{{labels}}}" in metrics
    assert 'pinnace_images_total{model="spot",outcome="unsupported_image_type"' not in metrics
    paths = httpx.get(f"{explaining.url}/docs.json").json()["paths"]
    assert {"/explain", "/models/{name}/explain"} <= set(paths)
    assert httpx.get(explaining.url).json()["explain"] is True


def test_it_is_off_unless_it_is_asked_for(small_server: Server) -> None:
    with httpx.Client(base_url=small_server.url) as client:
        answered = client.post("/explain", content=encode((1, 2, 3)))
        paths = client.get("/docs.json").json()["paths"]
        assert client.get("/").json()["explain"] is False
    assert answered.status_code == 404
    assert answered.json()["error"] == {
        "code": "not_enabled",
        "message": "this server does not explain its answers: each explanation costs as much as many images",
        "hint": "start it with --explain, or PINNACE_EXPLAIN=true",
    }
    assert not any(path.endswith("/explain") for path in paths)


def opened(bundle: Path, **given: Any) -> Registry:
    settings = load_settings(bundle=(bundle,), explain=True, workers=1, concurrency=1, **given)
    return Registry.open(settings, plan(settings))


def test_one_image_at_a_time_is_explained_and_it_counts_as_one(spot_bundle: Path) -> None:
    registry = opened(spot_bundle)
    engine = registry.model().engine
    running, go_on = threading.Event(), threading.Event()
    rows = engine.rows

    def held(inputs: Any) -> Any:
        running.set()
        assert go_on.wait(20)
        return rows(inputs)

    engine.rows = held  # type: ignore[method-assign]

    async def ask() -> list[Any]:
        first = asyncio.ensure_future(registry.explainer.explain(engine, spotted(), None, 2))
        await asyncio.to_thread(running.wait, 20)
        assert registry.admission.images == 1
        with pytest.raises(Overloaded, match="another image is being explained"):
            await registry.explainer.explain(engine, spotted(), None, 2)
        go_on.set()
        await first
        return [await registry.explainer.explain(engine, spotted(), None, 2)]

    try:
        (again,) = asyncio.run(ask())
        assert again.drops.shape == (2, 2)
        assert registry.admission.images == 0
        assert registry.admission.seconds == 0  # an explanation says nothing of what an image takes
    finally:
        registry.close()


@pytest.mark.parametrize("why", ["late", "gone"])
def test_it_ends_when_nobody_waits_for_it(spot_bundle: Path, why: str) -> None:
    registry = opened(spot_bundle, timeout=0.2)
    engine = registry.model().engine
    begun = threading.Event()
    runs: list[int] = []
    rows = engine.rows

    def slow(inputs: Any) -> Any:
        runs.append(len(inputs))
        begun.set()
        threading.Event().wait(0.05)
        return rows(inputs)

    engine.rows = slow  # type: ignore[method-assign]

    async def ask() -> None:
        asked = asyncio.ensure_future(registry.explainer.explain(engine, spotted(), None, 16))
        await asyncio.to_thread(begun.wait, 20)
        if why == "gone":
            asked.cancel()
        await asked

    try:
        with pytest.raises(LateAnswer if why == "late" else asyncio.CancelledError):
            asyncio.run(ask())
    finally:
        registry.close()  # waits for its thread
    assert sum(runs) < 1 + SIZE * SIZE


def test_an_image_that_cannot_be_read_lets_the_next_one_in(spot_bundle: Path) -> None:
    registry = opened(spot_bundle)
    engine = registry.model().engine

    async def ask(image: bytes) -> Any:
        return await registry.explainer.explain(engine, image, None, 2)

    try:
        for _ in range(2):
            with pytest.raises(PinnaceError, match="accepted image type"):
                asyncio.run(ask(b"none"))
        assert asyncio.run(ask(spotted())).index == 0
    finally:
        registry.close()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_field_is_covered_with_the_mean_colour(layout: Any, dtype: Any) -> None:
    values = np.random.default_rng(0).integers(0, 100, (1, 7, 9, 3)).astype(dtype)
    mean = values.astype(np.float64).mean(axis=(1, 2))[0]
    batch = values if layout == "NHWC" else values.transpose(0, 3, 1, 2)
    fields = [field for row in fields_of(batch, layout, 4) for field in row]
    assert len(fields) == 16
    times = np.zeros((7, 9), int)
    for (rows, columns), covered in zip(fields, cover(batch, layout, fields), strict=True):
        shown = covered if layout == "NHWC" else covered.transpose(0, 2, 3, 1)
        assert covered.dtype == dtype
        inside = np.broadcast_to(mean, shown[0, rows, columns].shape)
        np.testing.assert_allclose(
            shown[0, rows, columns], inside, atol=0.501 if dtype in (np.uint8, np.int8) else 0.05
        )
        rest = np.ones((7, 9), bool)
        rest[rows, columns] = False
        assert (shown[0][rest] == values[0][rest]).all()
        times[rows, columns] += 1
    assert (times == 1).all()
    assert len(fields_of(batch, layout, 16)) == 7
