"""Both clients against a real server of a bundle, and against one that misbehaves."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image

from pinnace.clients import (
    Answer,
    AsyncClient,
    BadAnswer,
    Client,
    NoAnswer,
    Refused,
    ServerError,
    Unreachable,
)
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import ImageError, UsageError
from pinnace.models.selection import answering, select
from support.errors import error_of, refusal
from support.server import Server
from support.stub_server import ANSWER, Stub

PHOTOGRAPHS = Path(__file__).parents[2] / "models" / "photographs"
CAT = PHOTOGRAPHS / "cat.jpg"
COFFEE = PHOTOGRAPHS / "coffee.jpg"

Ask = Callable[..., Any]


OPTIONS = ("timeout", "retries", "retries_when_full", "api_key")


def blocking(method: str, url: str, *arguments: Any, **named: Any) -> Any:
    options = {name: named.pop(name) for name in OPTIONS if name in named}
    with Client(url, **options) as client:
        return getattr(client, method)(*arguments, **named)


def in_a_loop(method: str, url: str, *arguments: Any, **named: Any) -> Any:
    options = {name: named.pop(name) for name in OPTIONS if name in named}

    async def ask() -> Any:
        async with AsyncClient(url, **options) as client:
            call: Callable[..., Awaitable[Any]] = getattr(client, method)
            return await call(*arguments, **named)

    return anyio.run(ask)


@pytest.fixture(params=[blocking, in_a_loop], ids=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """One call of a client's method."""
    function: Ask = request.param
    return function


@pytest.fixture(scope="module")
def expected(bundle: Path) -> Answer:
    with Classifier(Bundle.open(bundle)) as classifier:
        return classifier.classify(CAT, 3)


@pytest.mark.slow
def test_an_image_in_every_form_gets_the_classifiers_answer(
    ask: Ask, server: Server, expected: Answer
) -> None:
    pixels = Image.open(CAT)
    forms = [CAT, str(CAT), CAT.read_bytes(), bytearray(CAT.read_bytes()), pixels, np.asarray(pixels)]
    for form in forms:
        answer = ask("classify", server.url, form, 3)
        assert isinstance(answer, Answer)
        assert (answer.model, answer.variant) == ("colours", "onnx-fp32")
        assert [p.label for p in answer.predictions] == [p.label for p in expected.predictions]
        for got, want in zip(answer.predictions, expected.predictions, strict=True):
            assert got.probability == pytest.approx(want.probability, abs=1e-6)
        assert answer.timing_ms.total > 0


@pytest.mark.slow
def test_models_and_ready(ask: Ask, server: Server, bundle: Path, nobody: str) -> None:
    (model,) = ask("models", server.url)
    opened = Bundle.open(bundle)
    assert (model.name, (model.variant, model.runtime)) == ("colours", answering(opened, select(opened)))
    assert model.labels == opened.labels
    assert ask("classify", server.url, CAT, model="colours").model == "colours"
    assert ask("ready", server.url) is True
    assert ask("ready", nobody) is False


@pytest.mark.slow
def test_many_images_come_back_in_order_with_their_errors(ask: Ask, server: Server, expected: Answer) -> None:
    images = [CAT, b"no image", COFFEE, Path("not-there.jpg"), *[CAT] * 8]
    outcomes = ask("classify_many", server.url, (image for image in images), 3, concurrency=3)
    assert len(outcomes) == len(images)
    for number in (0, *range(4, 12)):
        assert outcomes[number].predictions[0].label == expected.predictions[0].label
    assert isinstance(outcomes[1], Refused)
    assert outcomes[1].code == "unsupported_image_type"
    assert isinstance(outcomes[3], ImageError)
    assert str(outcomes[3]) == "there is no file not-there.jpg"
    assert ask("classify_many", server.url, []) == []
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        ask("classify_many", server.url, [CAT], concurrency=0)


@pytest.mark.slow
def test_a_batch_is_one_request_with_an_outcome_for_each_image(
    ask: Ask, server: Server, expected: Answer, stub: Stub
) -> None:
    images = [CAT, b"no image", COFFEE, Path("not-there.jpg"), Image.open(CAT)]
    outcomes = ask("classify_batch", server.url, (image for image in images), 3)
    assert [type(outcome) for outcome in outcomes] == [Answer, Refused, Answer, ImageError, Answer]
    for number in (0, 4):
        got = [p.label for p in outcomes[number].predictions]
        assert got == [p.label for p in expected.predictions]
    assert (outcomes[1].code, outcomes[1].status) == ("unsupported_image_type", None)
    assert outcomes[1].is_about_the_image
    assert ask("classify_batch", server.url, []) == []
    with pytest.raises(Refused) as caught:
        ask("classify_batch", server.url, [CAT.read_bytes()] * 65)
    assert (caught.value.status, caught.value.code) == (413, "batch_too_large")
    stub.plan(stub.refuse(503, "full", "full"), stub.say(200, {"results": []}))
    with pytest.raises(BadAnswer):  # one image, no result
        ask("classify_batch", stub.url, [b"image"])
    assert stub.requests == ["POST /classify_batch"] * 2
    assert stub.bodies[0] == stub.bodies[1]
    assert b"image" in stub.bodies[0]


@pytest.mark.slow
def test_the_servers_own_words_are_kept(ask: Ask, server: Server) -> None:
    with pytest.raises(Refused) as caught:
        ask("classify", server.url, CAT, 9)
    error = caught.value
    assert isinstance(error, ServerError)
    assert (error.status, error.code) == (422, "invalid_parameter")
    assert error.message == "top_k must be between 1 and 5, the number of classes"
    with pytest.raises(Refused) as caught:
        ask("classify", server.url, CAT, model="no/such")
    assert (caught.value.status, caught.value.code) == (404, "unknown_model")


def test_a_full_server_is_asked_again(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.refuse(503, "full", "full", Retry_After="0"), stub.say(429, b"slow down"))
    answer = ask("classify", stub.url, b"image", 2)
    assert answer.predictions[0].label == "red"
    assert stub.requests == ["POST /classify?top_k=2"] * 3
    assert stub.bodies == [b"image"] * 3


def test_a_cut_connection_is_asked_again(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.cut, stub.half)
    assert ask("classify", stub.url, b"image").model == "stub"
    assert len(stub.requests) == 3


def test_a_server_that_stays_full_is_given_up(ask: Ask, stub: Stub) -> None:
    stub.plan(*[stub.refuse(503, "full", "the queue is full", "come back later")] * 2)
    with pytest.raises(Refused) as caught:
        ask("classify", stub.url, b"image", retries=1)
    assert str(caught.value) == "the queue is full\n  help: come back later"
    assert (caught.value.status, caught.value.code) == (503, "full")
    assert len(stub.requests) == 2


def test_a_server_that_asks_for_an_hour_is_not_waited_for(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.refuse(429, "quota", "no more today", Retry_After="3600"))
    with pytest.raises(Refused) as caught:
        ask("classify", stub.url, b"image")
    assert (
        str(caught.value)
        == "no more today\n  help: the server asks clients to wait 3600 seconds before they try again"
    )


def test_a_connection_that_is_always_cut(ask: Ask, stub: Stub) -> None:
    stub.plan(*[stub.cut] * 2)
    with pytest.raises(NoAnswer) as caught:
        ask("classify", stub.url, b"image", retries=1)
    assert str(caught.value) == (
        f"{stub.url} closed the connection without an answer: Server disconnected without sending a response"
    )
    assert len(stub.requests) == 2


def test_a_silent_server_is_asked_once(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.hang)
    with pytest.raises(NoAnswer) as caught:
        ask("classify", stub.url, b"image", timeout=0.2)
    assert str(caught.value) == (
        f"{stub.url} did not answer in 0.2 seconds\n"
        "  help: the server may be overloaded; raise the timeout, or send fewer images at once"
    )
    assert stub.requests == ["POST /classify"]


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome!</html>", b"", b"[]", b'{"model": "x"}', b"\xff\xfe", b'{"predictions": 3}'],
)
def test_nonsense_is_told_from_an_answer(ask: Ask, stub: Stub, body: bytes) -> None:
    for method in ("classify", "models"):
        stub.plan(stub.say(200, body))
        with pytest.raises(BadAnswer) as caught:
            ask(method, stub.url, *([b"image"] if method == "classify" else []))
        assert str(caught.value) == f"{stub.url} answers, but it is not a Pinnace server"


HOSTILE_ANSWERS = [
    {**ANSWER, "predictions": []},
    {**ANSWER, "predictions": [{"label": "x", "index": 0, "probability": float("nan")}]},
    {**ANSWER, "predictions": [{"label": "x", "index": 0, "probability": float("inf")}]},
    {**ANSWER, "predictions": [{"label": "x", "index": 0, "probability": 1e18}]},
    {**ANSWER, "predictions": [{"label": "x", "index": -1, "probability": 0.5}]},
    {**ANSWER, "timing_ms": dict.fromkeys(["decode", "preprocess", "queue", "infer", "total"], float("nan"))},
    {**ANSWER, "threshold": float("inf")},
]


@pytest.mark.parametrize("answer", HOSTILE_ANSWERS, ids=range(len(HOSTILE_ANSWERS)))
def test_an_answer_that_is_none_is_refused(ask: Ask, stub: Stub, answer: object) -> None:
    stub.plan(stub.say(200, answer))
    assert refusal(BadAnswer, ask, "classify", stub.url, b"image") == (
        f"{stub.url} answers, but it is not a Pinnace server"
    )


def test_a_redirect_that_does_not_say_where(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.say(302, b""))
    assert "302 to an address that it does not say" in refusal(BadAnswer, ask, "classify", stub.url, b"image")


def test_a_gzip_bomb_is_never_unpacked(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.say(200, gzip.compress(bytes(200 << 20)), Content_Encoding="gzip"))
    assert "not a Pinnace server" in refusal(BadAnswer, ask, "classify", stub.url, b"image")


def test_a_body_without_an_end_is_not_read_to_it(ask: Ask, stub: Stub) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 20))

    stub.plan(endless)
    assert "answers with more than 64 MB" in refusal(BadAnswer, ask, "classify", stub.url, b"image")


@pytest.mark.parametrize("begun", [b"", b"Content-Type: application/json\r\n\r\n"], ids=["headers", "body"])
def test_an_answer_that_drips_is_not_waited_for(ask: Ask, stub: Stub, begun: bytes) -> None:
    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (begun or b"X-Slow: "))
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)

    stub.plan(dripping)
    message = refusal(BadAnswer, ask, "classify", stub.url, b"image", timeout=0.2)
    assert message == f"{stub.url} did not end its answer in 2 seconds"


def test_the_time_of_an_answer_begins_with_its_request(ask: Ask, stub: Stub) -> None:
    """A connection that is used again has a new one, also where it has been idle for longer."""
    stub.plan(*3 * [stub.say(200, ANSWER)])

    def paused(image: bytes) -> bytes:
        time.sleep(0.3)
        return image

    images = (paused(image) for image in 3 * [b"image"])
    assert len(ask("classify_many", stub.url, images, concurrency=1, timeout=0.05, retries=0)) == 3


def test_more_classes_than_were_asked_for_are_nonsense(ask: Ask, stub: Stub) -> None:
    three = [{"label": "x", "index": index, "probability": 0.001} for index in range(3)]
    stub.plan(*3 * [stub.say(200, {**ANSWER, "predictions": three})])
    assert len(ask("classify", stub.url, b"image", top_k=3).predictions) == 3
    with pytest.raises(BadAnswer):
        ask("classify", stub.url, b"image", top_k=2)
    assert len(ask("classify", stub.url, b"image").predictions) == 3


@pytest.mark.parametrize("place", ["model", "label"])
def test_so_is_a_name_without_an_end(ask: Ask, stub: Stub, place: str) -> None:
    body = json.loads(json.dumps(ANSWER))
    (body if place == "model" else body["predictions"][0])[place] = "a\u0301" * 50_000
    stub.plan(stub.say(200, body))
    with pytest.raises(BadAnswer):
        ask("classify", stub.url, b"image")


def test_what_a_server_says_has_no_escapes_and_an_end(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.refuse(400, "bad\x1b[31m", "\x1b]0;title\x07 \x9b31m" + "x" * 10_000, "\x1b[2J"))
    error = error_of(Refused, ask, "classify", stub.url, b"image")
    assert f"{error}{error.code}".replace("\n", "").isprintable()
    assert len(error.message) < 1000


def test_bytes_that_are_no_gzip_are_nonsense_too(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.say(200, b"not gzip", Content_Encoding="gzip"))
    with pytest.raises(BadAnswer):
        ask("classify", stub.url, b"image")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error": "no"}', b"null"])
def test_an_error_without_our_words(ask: Ask, stub: Stub, body: bytes) -> None:
    stub.plan(stub.say(500, body))
    with pytest.raises(Refused) as caught:
        ask("classify", stub.url, b"image")
    assert str(caught.value) == f"{stub.url} answered with status 500 and no explanation"
    assert (caught.value.status, caught.value.code) == (500, "http_error")


def test_a_redirect_says_where_to(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.say(308, Location="https://elsewhere/classify"))
    with pytest.raises(BadAnswer) as caught:
        ask("classify", stub.url, b"image")
    assert str(caught.value) == (
        f"{stub.url} redirects to another address\n"
        "  got: 308 to https://elsewhere/classify\n"
        "  help: use that address"
    )


def test_nobody_there(ask: Ask, nobody: str) -> None:
    with pytest.raises(Unreachable) as caught:
        ask("classify", nobody, b"image", retries=1)
    assert str(caught.value).startswith(f"{nobody} cannot be reached: ")
    assert str(caught.value).endswith(
        "\n  help: check that the server is running; `pinnace serve BUNDLE` starts one"
    )


def test_ready_asks_once_and_tells_a_server_that_is_not_ours(ask: Ask, stub: Stub) -> None:
    stub.plan(stub.refuse(503, "service_unavailable", "not yet"), stub.cut, stub.say(404, b"what?"))
    assert ask("ready", stub.url) is False
    assert ask("ready", stub.url) is False
    with pytest.raises(Refused):
        ask("ready", stub.url)
    assert stub.requests == ["GET /readyz"] * 3


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (
            "localhost:3000",
            {},
            "'localhost:3000' is not a server's URL\n  expected: http://HOST:PORT or https://HOST:PORT",
        ),
        ("http://", {}, "'http://' is not a server's URL\n  expected: http://HOST:PORT or https://HOST:PORT"),
        (
            "http://x:y",
            {},
            "'http://x:y' is not a server's URL\n  expected: http://HOST:PORT or https://HOST:PORT",
        ),
        ("http://x", {"timeout": 0}, "timeout must be more than 0 seconds\n  got: 0"),
        ("http://x", {"retries": -1}, "retries must be at least 0\n  got: -1"),
        ("http://x", {"retries_when_full": -2}, "retries must be at least 0\n  got: -2"),
        (
            "http://x",
            {"api_key": "a\nb"},
            "the API key has characters that cannot be sent\n  expected: printable ASCII",
        ),
    ],
)
def test_wrong_arguments(ask: Ask, url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask("ready", url, **options)
    assert str(caught.value) == message


def test_a_password_in_the_url_is_used_and_not_shown(ask: Ask, stub: Stub) -> None:
    url = stub.url.replace("http://", "http://me:secret@")
    stub.plan(stub.say(500, b""))
    with pytest.raises(Refused) as caught:
        ask("classify", url, b"image")
    assert str(caught.value) == f"{stub.url} answered with status 500 and no explanation"


def test_a_server_behind_a_path(ask: Ask, stub: Stub) -> None:
    assert ask("classify", f"{stub.url}/models/", b"image").model == "stub"
    assert stub.requests == ["POST /models/classify"]


def test_a_key_is_sent_where_there_is_one(ask: Ask, stub: Stub) -> None:
    ask("classify", stub.url, b"image")
    ask("classify", stub.url, b"image", api_key="s3cret")
    ask("ready", stub.url, api_key="s3cret")
    assert stub.keys == [None, "Bearer s3cret", "Bearer s3cret"]
