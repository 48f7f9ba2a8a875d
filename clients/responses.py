"""A server's responses, parsed: answers, models, errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from pinnace.clients.errors import BadAnswer, Refused
from pinnace.clients.retry import LONGEST_WAIT, retry_after
from pinnace.models.answer import Answer, Embedding
from pinnace.models.errors import ServerError

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


_ANSWER = TypeAdapter(Answer)
_EMBEDDING = TypeAdapter(Embedding)
_ERROR = TypeAdapter(_ErrorBody)
_MODELS = TypeAdapter(_Models)
_RESULTS = TypeAdapter(_Results)


def answer(url: str, response: httpx.Response) -> Answer:
    """The answer to one image.

    Raises:
        BadAnswer: the response is something else.
    """
    return _parse(url, response, _ANSWER)


def embedding(url: str, response: httpx.Response) -> Embedding:
    """The vector of one image.

    Raises:
        BadAnswer: the response is something else.
    """
    return _parse(url, response, _EMBEDDING)


def results(url: str, response: httpx.Response, images: int) -> list[Answer | Refused]:
    """The answers to a batch, one for each image; an image that the server refuses has an error in its place.

    Raises:
        BadAnswer: the response is something else, or has more or fewer results than `images`.
    """
    received = _parse(url, response, _RESULTS).results
    if len(received) != images:
        raise not_a_pinnace_server(url)
    return [
        Refused(one.error.message, hint=one.error.hint, code=one.error.code)
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
            got=f"{status} to {response.headers['Location']}",
            hint="use that address",
        )
    try:
        fields = _ERROR.validate_json(response.content).error
    except ValidationError:
        fields = _ErrorFields("http_error", f"{url} answered with status {status} and no explanation")
    wait_s = retry_after(response.headers.get("Retry-After"))
    hint = fields.hint
    if wait_s is not None and wait_s > LONGEST_WAIT:
        hint = f"the server asks clients to wait {wait_s:.0f} seconds before they try again"
    return Refused(fields.message, hint=hint, status=status, code=fields.code)


def not_a_pinnace_server(url: str) -> BadAnswer:
    """The error for a response that a Pinnace server would not send."""
    return BadAnswer(f"{url} answers, but it is not a Pinnace server")


def _parse(url: str, response: httpx.Response, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_json(response.content)
    except ValidationError:
        raise not_a_pinnace_server(url) from None
