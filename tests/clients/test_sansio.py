"""What the clients would say, and how long they would wait, without a network and without waiting."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from pinnace.clients.errors import Refused, Unreachable
from pinnace.clients.retry import Retry, retry_after
from pinnace.clients.sansio import SansIoClient, Sleep

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


def begin(retries: int = 3, when_full: int | None = None) -> tuple[Any, httpx.Request]:
    """The steps of a classification, and the first request that it makes."""
    client = SansIoClient("http://x", timeout=5, retries=retries, retries_when_full=when_full, api_key=None)
    steps = client.classify(b"image", 2, None)
    return steps, next(steps)


def test_a_request_is_complete() -> None:
    _, request = begin()
    assert (request.method, str(request.url), request.read()) == (
        "POST",
        "http://x/classify?top_k=2",
        b"image",
    )
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["content-length"] == "5"
    assert request.extensions["timeout"] == {"connect": 5, "read": 5, "write": 5, "pool": None}


def test_what_the_server_asks_for_is_waited_for_and_a_little_more() -> None:
    steps, request = begin()
    step = steps.send(httpx.Response(503, headers={"Retry-After": "7"}))
    assert isinstance(step, Sleep)
    assert 7 < step.seconds <= 7.2
    assert steps.send(None) is request


def test_waits_double_until_the_attempts_are_used_up() -> None:
    steps, request = begin(retries=3)
    waits = []
    for _ in range(3):
        waits.append(steps.throw(httpx.ConnectError("refused")).seconds)
        assert steps.send(None) is request
    assert [0.1 <= waits[0] <= 0.2, 0.2 <= waits[1] <= 0.4, 0.4 <= waits[2] <= 0.8] == [True] * 3
    with pytest.raises(Unreachable, match="http://x cannot be reached: refused"):
        steps.throw(httpx.ConnectError("refused"))


def test_a_full_server_and_a_broken_connection_are_counted_apart() -> None:
    steps, request = begin(retries=1, when_full=3)
    for _ in range(3):
        assert isinstance(steps.send(httpx.Response(429)), Sleep)
        assert steps.send(None) is request
    assert isinstance(steps.throw(httpx.ReadError("cut")), Sleep)
    assert steps.send(None) is request
    with pytest.raises(Refused):
        steps.send(httpx.Response(429))


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 502, 504])
def test_other_refusals_are_final(status: int) -> None:
    steps, _ = begin()
    with pytest.raises(Refused):
        steps.send(httpx.Response(status, headers={"Retry-After": "1"}))


def test_waits_have_jitter_and_a_limit() -> None:
    retry = Retry(99)
    assert len({retry.wait(1) for _ in range(20)}) > 1
    longest = retry.wait(99)
    assert longest is not None
    assert longest <= 10
    assert retry.wait(1, 61) is None
    assert Retry(0).wait(1) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("Sat, 21 Nov 2026 12:00:05 -0000", 5),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def test_a_date_is_compared_with_the_present() -> None:
    asked = retry_after(format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True))
    assert asked is not None
    assert 3500 < asked <= 3600


@pytest.mark.parametrize(
    ("status", "code", "about_the_image", "is_temporary"),
    [
        (400, "undecodable_image", True, False),
        (400, "malformed_body", False, False),
        (413, "http_error", True, False),
        (415, "unsupported_image_type", True, False),
        (422, "invalid_parameter", False, False),
        (429, "full", False, True),
        (504, "timeout", False, True),
    ],
)
def test_whose_fault_a_refusal_is(status: int, code: str, about_the_image: bool, is_temporary: bool) -> None:
    error = Refused("no", status=status, code=code)
    assert (error.is_about_the_image, error.is_temporary) == (about_the_image, is_temporary)
    assert error.http_body() == {"error": {"code": code, "message": "no", "hint": None}}
