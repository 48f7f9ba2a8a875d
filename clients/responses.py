"""A server's responses, parsed: answers, models, errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar, overload

import httpx
from pydantic import TypeAdapter, ValidationError

from pinnace.clients.errors import BadAnswer, Refused
from pinnace.clients.retry import LONGEST_WAIT, retry_after
from pinnace.models.answer import Answer, Embedding
from pinnace.models.errors import ServerError
from pinnace.models.printable import printable

T = TypeVar("T")


@dataclass(frozen=True)
class ServedOutputs:
    """What a model's answers mean.

    Attributes:
        meaning: `logits` or `probabilities` where one class is true, `sigmoid` where several labels may be,
            or
            `embedding`.
        threshold: from which score on a label counts as true, where several may be; else None.
        normalised: of an embedding, whether its Euclidean norm is 1; else None.
    """

    meaning: str
    threshold: float | None = None
    normalised: bool | None = None


@dataclass(frozen=True)
class ServedModel:
    """A model that a server answers with.

    Attributes:
        name: what the server calls it.
        variant: which variant of its bundle answers.
        runtime: what executes it.
        labels: its classes, by index.
        version: which version of its bundle answers; empty where the server does not say.
        outputs: what its answers mean; None where the server does not say.
    """

    name: str
    variant: str
    runtime: str
    labels: tuple[str, ...]
    version: str = ""
    outputs: ServedOutputs | None = None


@dataclass(frozen=True)
class _Models:
    models: tuple[ServedModel, ...]


@dataclass(frozen=True)
class _ErrorFields:
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class _ErrorBody:
    error: _ErrorFields


@dataclass(frozen=True)
class _Results:
    results: tuple[Answer | _ErrorBody, ...]


# A batch of 64 images with 1,000 classes each is 5 MB.
MOST_BYTES = 64 << 20
_LONGEST_TEXT = 500
_LONGEST_NAME = 10_000
_MOST_UNASKED = 1000  # classes, where the server chooses how many
_ROUNDING = 1e-3

_ANSWER = TypeAdapter(Answer)
_EMBEDDING = TypeAdapter(Embedding)
_ERROR = TypeAdapter(_ErrorBody)
_MODELS = TypeAdapter(_Models)
_RESULTS = TypeAdapter(_Results)


def answer(url: str, response: httpx.Response, top_k: int | None) -> Answer:
    """The answer to one image, with as many classes as were asked for at most.

    Raises:
        BadAnswer: the response is something else.
    """
    received = _parse(url, response, _ANSWER)
    _require_good(url, received, top_k)
    return received


def embedding(url: str, response: httpx.Response) -> Embedding:
    """The vector of one image.

    Raises:
        BadAnswer: the response is something else.
    """
    received = _parse(url, response, _EMBEDDING)
    if not received.embedding or not all(map(math.isfinite, (*received.embedding, *_times(received)))):
        raise not_a_pinnace_server(url)
    return received


def results(url: str, response: httpx.Response, images: int, top_k: int | None) -> list[Answer | Refused]:
    """The answers to a batch, one for each image; an image that the server refuses has an error in its place.

    Raises:
        BadAnswer: the response is something else, or has more or fewer results than `images`.
    """
    received = _parse(url, response, _RESULTS).results
    if len(received) != images:
        raise not_a_pinnace_server(url)
    for one in received:
        if isinstance(one, Answer):
            _require_good(url, one, top_k)
    return [
        Refused(_text(one.error.message), hint=_text(one.error.hint), code=_text(one.error.code))
        if isinstance(one, _ErrorBody)
        else one
        for one in received
    ]


def models(url: str, response: httpx.Response) -> tuple[ServedModel, ...]:
    """The models that are served.

    Raises:
        BadAnswer: the response is something else.
    """
    return _parse(url, response, _MODELS).models


def error_of(url: str, response: httpx.Response) -> ServerError:
    """The error for a response whose status is not a success."""
    status = response.status_code
    if response.is_redirect:
        return BadAnswer(
            f"{url} redirects to another address",
            got=f"{status} to {_text(response.headers.get('Location', 'an address that it does not say'))}",
            hint="use that address",
        )
    try:
        fields = _ERROR.validate_json(response.content).error
    except ValidationError:
        fields = _ErrorFields("http_error", f"{url} answered with status {status} and no explanation")
    wait_s = retry_after(response.headers.get("Retry-After"))
    hint = _text(fields.hint)
    if wait_s is not None and wait_s > LONGEST_WAIT:
        hint = f"the server asks clients to wait {wait_s:.0f} seconds before they try again"
    return Refused(_text(fields.message), hint=hint, status=status, code=_text(fields.code))


def not_a_pinnace_server(url: str) -> BadAnswer:
    """The error for a response that a Pinnace server would not send."""
    return BadAnswer(f"{url} answers, but it is not a Pinnace server")


class Body:
    """What a server sends, as long as it is not too much; it is asked to send it as it is."""

    def __init__(self, url: str, response: httpx.Response) -> None:
        """Nothing yet.

        Args:
            url: the server.
            response: without what it sends.

        Raises:
            BadAnswer: it is compressed, although that was not asked for: a little of it could unpack to more
                than there is memory.
        """
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise not_a_pinnace_server(url)
        self._url = url
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Take what has come.

        Raises:
            BadAnswer: it is more than `MOST_BYTES` in all.
        """
        self._size += len(part)
        if self._size > MOST_BYTES:
            raise BadAnswer(
                f"{self._url} answers with more than {MOST_BYTES >> 20} MB, so it is not a Pinnace server"
            )
        self._parts.append(part)

    def response(self, response: httpx.Response) -> httpx.Response:
        """The response with all that has come."""
        return httpx.Response(response.status_code, headers=response.headers, content=b"".join(self._parts))


def _require_good(url: str, received: Answer, top_k: int | None) -> None:
    """Refuse an answer without predictions, with more than were asked for, or with numbers that are none.

    Raises:
        BadAnswer: it is one.
    """
    threshold = 0.0 if received.threshold is None else received.threshold
    if not 1 <= len(received.predictions) <= (top_k or _MOST_UNASKED):
        raise not_a_pinnace_server(url)
    if not all(map(math.isfinite, (threshold, *_times(received)))):
        raise not_a_pinnace_server(url)
    if max(map(len, (received.model, received.variant, received.runtime))) > _LONGEST_NAME:
        raise not_a_pinnace_server(url)
    for prediction in received.predictions:
        is_probable = -_ROUNDING <= prediction.probability <= 1 + _ROUNDING
        if not is_probable or prediction.index < 0 or len(prediction.label) > _LONGEST_NAME:
            raise not_a_pinnace_server(url)


def _times(received: Answer | Embedding) -> tuple[float, ...]:
    timing = received.timing_ms
    return timing.decode, timing.preprocess, timing.queue, timing.infer, timing.total


@overload
def _text(text: str) -> str: ...
@overload
def _text(text: str | None) -> str | None: ...
def _text(text: str | None) -> str | None:
    """What a server says, without characters that a terminal would obey, and not endless."""
    if text is None:
        return None
    plain = printable(text[: _LONGEST_TEXT + 1])
    return plain if len(text) <= _LONGEST_TEXT else plain[:_LONGEST_TEXT] + " ..."


def _parse(url: str, response: httpx.Response, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_json(response.content)
    except ValidationError:
        raise not_a_pinnace_server(url) from None
