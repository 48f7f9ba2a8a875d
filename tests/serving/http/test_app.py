"""The application alone, with an engine that does what a test needs."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.errors import BundleError
from pinnace.serving.http.app import create_app
from pinnace.serving.http.request_body import Upload
from pinnace.serving.http.route_families import route_table
from pinnace.serving.inference.admission import Admission
from pinnace.serving.settings import load_settings

ANSWER = Answer("m", "v", "r", (Prediction("a", 0, 1.0),), Timing(1.23456, 2.0, 3.0, 4.0, 5.0))


class FakeRegistry:
    def __init__(self, act: Callable[[Upload], Awaitable[Answer]]) -> None:
        self.act = act
        self.closed = False
        self.engine = self
        self.admission = Admission(slots=1, queue=9, timeout=9, max_bytes=9_000_000)

    def model(self, name: str | None) -> FakeRegistry:
        assert name is None
        return self

    parameters = ("top_k",)

    def check_top_k(self, k: int) -> int:
        return k

    def check_threshold(self, threshold: float | None) -> None:
        pass

    async def classify(self, upload: Upload) -> Answer:
        return await self.act(upload)

    def close(self) -> None:
        self.closed = True


def post(
    act: Callable[[Upload], Awaitable[Answer]], files: dict[str, bytes] | None = None, **settings: Any
) -> httpx.Response:
    """Run the application around an engine and post three bytes to it, or a form."""
    engine = FakeRegistry(act)
    app = create_app(route_table(), load_settings(**settings), open_registry=lambda: engine)  # type: ignore[arg-type, return-value]

    async def talk() -> httpx.Response:
        async with app.router.lifespan_context(app):
            assert not engine.closed
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                content = None if files else b"abc"
                return await client.post("/classify", content=content, files=files, params={"top_k": 2})

    response = asyncio.run(talk())
    assert engine.closed
    return response


def test_the_answer_is_written_out() -> None:
    async def act(upload: Upload) -> Answer:
        assert upload == Upload(b"abc", 2)
        return ANSWER

    assert post(act).json() == {
        "model": "m",
        "version": "",
        "variant": "v",
        "runtime": "r",
        "predictions": [{"label": "a", "index": 0, "probability": 1.0}],
        "timing_ms": {"decode": 1.235, "preprocess": 2.0, "queue": 3.0, "infer": 4.0, "total": 5.0},
    }


def test_a_large_form_never_goes_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    image = bytes(3_000_000)

    async def act(upload: Upload) -> Answer:
        assert upload.image == image
        return ANSWER

    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    assert post(act, {"image": image}).status_code == 200


def test_a_late_answer_is_504() -> None:
    async def act(_: Upload) -> Answer:
        await asyncio.sleep(5)
        return ANSWER

    response = post(act, timeout=0.05)
    assert response.status_code == 504
    assert response.json() == {
        "error": {
            "code": "timeout",
            "message": "the answer was not ready within 0.05 s",
            "hint": "try again when the server is less busy",
        }
    }


def test_an_unexpected_exception_is_500_without_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    async def act(_: Upload) -> Answer:
        raise ZeroDivisionError("secret path")

    response = post(act)
    assert response.status_code == 500
    assert response.json() == {
        "error": {
            "code": "internal",
            "message": "the server failed to answer",
            "hint": "the server's log says what happened",
        }
    }
    assert "secret path" in caplog.text
    assert "Traceback" in caplog.text


def test_a_probability_that_is_no_number_is_500() -> None:
    async def act(_: Upload) -> Answer:
        return Answer("m", "v", "r", (Prediction("a", 0, float("nan")),), ANSWER.timing_ms)

    assert post(act).status_code == 500


def test_our_own_500_keeps_its_code(caplog: pytest.LogCaptureFixture) -> None:
    async def act(_: Upload) -> Answer:
        raise BundleError("the model does not answer as it should")

    response = post(act)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "invalid_bundle")
    assert "the model does not answer as it should" in caplog.text


def test_the_models_open_off_the_event_loop_and_before_ready_is_said() -> None:
    said: list[str] = []
    engine = FakeRegistry(lambda _: asyncio.sleep(0, ANSWER))

    def open_registry() -> FakeRegistry:
        assert threading.current_thread() is not threading.main_thread()
        said.append("opened")
        return engine

    app: Starlette = create_app(
        route_table(),
        load_settings(),
        open_registry=open_registry,  # type: ignore[arg-type]
        on_ready=lambda _: said.append("ready"),
    )

    async def live() -> None:
        async with app.router.lifespan_context(app):
            assert said == ["opened", "ready"]

    asyncio.run(live())


def test_ready_is_never_said_when_no_model_opens() -> None:
    def open_registry() -> FakeRegistry:
        raise BundleError("no")

    def on_ready(_: object) -> None:
        pytest.fail("ready without a model")

    app = create_app(route_table(), load_settings(), open_registry=open_registry, on_ready=on_ready)  # type: ignore[arg-type]

    async def live() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(BundleError):
        asyncio.run(live())
