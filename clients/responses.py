"""What a server's responses say: answers, models, errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from pinnace.clients.errors import BadAnswer, Refused
from pinnace.clients.retry import LONGEST_WAIT, retry_after
from pinnace.models.answer import Answer
from pinnace.models.errors import ServerError

T = TypeVar("T")


@dataclass(frozen=True)
class ServedModel:
    """A model that a server answers with.

    Attributes:
        name: what the server calls it.
        variant: which variant of its bundle answers.
        runtime: what executes it.
        labels: its classes, by index.
        version: which version of its bundle answers; empty where the server does not say.
    """

    name: str
    variant: str
    runtime: str
    labels: tuple[str, ...]
    version: str = ""


@dataclass(frozen=True)
class _Models:
    models: tuple[ServedModel, ...]


@dataclass(frozen=True)
class _Said:
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class _Error:
    error: _Said


@dataclass(frozen=True)
class _Results:
    results: tuple[Answer | _Error, ...]


_ANSWER = TypeAdapter(Answer)
_ERROR = TypeAdapter(_Error)
_MODELS = TypeAdapter(_Models)
_RESULTS = TypeAdapter(_Results)


def answer(url: str, response: httpx.Response) -> Answer:
    """The answer to one image.

    Raises:
        BadAnswer: it is none.
    """
    return _parse(url, response, _ANSWER)


def results(url: str, response: httpx.Response, images: int) -> list[Answer | Refused]:
    """The answers to a batch, one for each image; what the server refuses is an error in its place.

    Raises:
        BadAnswer: they are none, or more or fewer than `images`.
    """
    received = _parse(url, response, _RESULTS).results
    if len(received) != images:
        raise not_ours(url)
    return [
        Refused(one.error.message, hint=one.error.hint, code=one.error.code)
        if isinstance(one, _Error)
        else one
        for one in received
    ]


def models(url: str, response: httpx.Response) -> tuple[ServedModel, ...]:
    """The models that are served.

    Raises:
        BadAnswer: it is no list of models.
    """
    return _parse(url, response, _MODELS).models


def refusal(url: str, response: httpx.Response) -> ServerError:
    """The error that a response which is no success stands for."""
    status = response.status_code
    if response.is_redirect:
        return BadAnswer(
            f"{url} sends its callers on to another address",
            got=f"{status} to {response.headers['Location']}",
            hint="use that address",
        )
    try:
        said = _ERROR.validate_json(response.content).error
    except ValidationError:
        said = _Said("http_error", f"{url} answered with status {status} and no explanation")
    asked = retry_after(response.headers.get("Retry-After"))
    too_long = asked is not None and asked > LONGEST_WAIT
    hint = f"the server asks to be left alone for {asked:.0f} seconds" if too_long else said.hint
    return Refused(said.message, hint=hint, status=status, code=said.code)


def not_ours(url: str) -> BadAnswer:
    """The error for what only a stranger would say."""
    return BadAnswer(f"{url} answers, but not as a pinnace server does")


def _parse(url: str, response: httpx.Response, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_json(response.content)
    except ValidationError:
        raise not_ours(url) from None
