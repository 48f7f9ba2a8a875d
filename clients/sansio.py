"""The clients without their I/O (https://sans-io.readthedocs.io): which requests, which waits, which retries.

Each method of `SansIoClient` is a generator: it yields a `Step` and is sent the step's outcome, or has thrown
into it what the step raised, until it returns. `Client` and `AsyncClient` only carry out the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from pinnace.clients import responses
from pinnace.clients.deadline import TOO_LATE
from pinnace.clients.encoding import ImageSource, encode
from pinnace.clients.errors import BadAnswer, NoAnswer, Refused, Unreachable
from pinnace.clients.responses import ServedModel
from pinnace.clients.retry import Retry, retry_after
from pinnace.models.answer import Answer, Embedding
from pinnace.models.errors import ImageError, PinnaceError, ServerError, UsageError, without_number

T = TypeVar("T")

_SERVER_FULL = (429, 503)
_LONGEST_ANSWER = 10  # times the timeout, which is of silence


@dataclass(frozen=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


BlockingCall: TypeAlias = Callable[[], bytes]  # run in a thread where there is an event loop
Step: TypeAlias = httpx.Request | Sleep | BlockingCall
Steps: TypeAlias = Generator[Step, Any, T]


class SansIoClient:
    """What a client of one server does, step by step; it holds no connection.

    Attributes:
        url: the server's root, without a password.
        longest: seconds within which an answer has to end.
    """

    def __init__(
        self, url: str, *, timeout: float, retries: int, retries_when_full: int | None, api_key: str | None
    ) -> None:
        """Check the URL and the numbers.

        Args:
            url: the server's root.
            timeout: seconds; see `pinnace.clients.client.Client`.
            retries: how often a request is made again where the connection fails.
            retries_when_full: how often where the server is full; as `retries` where None.
            api_key: sent as `Authorization: Bearer KEY`, or None.

        Raises:
            UsageError: the URL is not one, a number is out of range, or the key cannot stand in a header.
        """
        try:
            parsed = httpx.URL(url.rstrip("/"))
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UsageError(
                f"{url!r} is not a server's URL", expected="http://HOST:PORT or https://HOST:PORT"
            )
        if not timeout > 0:
            raise UsageError("timeout must be more than 0 seconds", got=str(timeout))
        retries_when_full = retries if retries_when_full is None else retries_when_full
        if min(retries, retries_when_full) < 0:
            raise UsageError("retries must be at least 0", got=str(min(retries, retries_when_full)))
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise UsageError("the API key has characters that cannot be sent", expected="printable ASCII")
        self._root = str(parsed)
        self._timeout = timeout
        self.longest = _LONGEST_ANSWER * timeout
        self._connection_retry = Retry(retries)
        self._full_retry = Retry(retries_when_full)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "pinnace",
        }
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        # A password in the URL must not show in a message.
        self.url = str(parsed.copy_with(username=None, password=None)) if parsed.userinfo else self._root

    def classify(
        self, image: ImageSource, top_k: int | None, model: str | None, threshold: float | None = None
    ) -> Steps[Answer]:
        """Send an image, and read the answer."""
        response = yield from self._ask(image, _path("classify", model), _params(top_k, threshold))
        return responses.answer(self.url, response, top_k)

    def embed(self, image: ImageSource, model: str | None) -> Steps[Embedding]:
        """Send an image, and read its vector."""
        response = yield from self._ask(image, _path("embed", model), {})
        return responses.embedding(self.url, response)

    def _ask(self, image: ImageSource, path: str, params: Mapping[str, int | float]) -> Steps[httpx.Response]:
        # Whatever reads, decodes or encodes an image is kept away from an event loop.
        data = image if isinstance(image, bytes) else (yield partial(encode, image))
        request = self._request(
            "POST",
            path,
            params=params,
            content=data,
            headers={"Content-Type": "application/octet-stream"},
        )
        return (yield from self._answer(request))

    def classify_batch(
        self,
        images: Iterable[ImageSource],
        top_k: int | None,
        model: str | None,
        threshold: float | None = None,
    ) -> Steps[list[Answer | PinnaceError]]:
        """Send several images in one request, and read an answer or an error for each."""
        outcomes: list[Answer | PinnaceError | None] = []
        files = []
        for image in images:
            try:
                data = image if isinstance(image, bytes) else (yield partial(encode, image))
            except ImageError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
                files.append(("images", (str(len(outcomes)), data, "application/octet-stream")))
        results: Iterator[Answer | Refused] = iter(())
        if files:
            params = _params(top_k, threshold)
            request = self._request("POST", _path("classify_batch", model), params=params, files=files)
            response = yield from self._answer(request)
            results = iter(responses.results(self.url, response, len(files), top_k))
        return [next(results) if outcome is None else outcome for outcome in outcomes]

    def models(self) -> Steps[tuple[ServedModel, ...]]:
        """Fetch the list of models that the server has."""
        response = yield from self._answer(self._request("GET", "/models"))
        return responses.models(self.url, response)

    def ready(self) -> Steps[bool]:
        """Ask the server once whether it is ready; False where it cannot be reached."""
        try:
            response = yield from self._attempt(self._request("GET", "/readyz"))
        except (Unreachable, NoAnswer):
            return False
        if response.status_code not in (200, 503):
            raise responses.error_of(self.url, response)
        return bool(response.status_code == 200)

    def body(self, response: httpx.Response) -> responses.Body:
        """What collects the body of a response."""
        return responses.Body(self.url, response)

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Request:
        headers = {**self._headers, **parts.pop("headers", {})}
        # No timeout for the pool: requests that wait for a connection have not been sent yet.
        timeout = httpx.Timeout(self._timeout, pool=None).as_dict()
        return httpx.Request(
            method, self._root + path, headers=headers, extensions={"timeout": timeout}, **parts
        )

    def _answer(self, request: httpx.Request) -> Steps[httpx.Response]:
        """Make a request until it is answered well, it is refused for good, or the attempts are used up."""
        broken = full = 0  # failed attempts of each kind
        while True:
            error: ServerError
            wait = None
            try:
                response: httpx.Response = yield from self._attempt(request)
            except (Unreachable, NoAnswer) as failure:
                error = failure
                broken += 1
                if not isinstance(failure.__cause__, httpx.ReadTimeout | httpx.WriteTimeout):
                    wait = self._connection_retry.wait(broken)
            else:
                if response.is_success:
                    return response
                error = responses.error_of(self.url, response)
                if response.status_code in _SERVER_FULL:
                    full += 1
                    wait = self._full_retry.wait(full, retry_after(response.headers.get("Retry-After")))
            if wait is None:
                raise error
            yield Sleep(wait)

    def _attempt(self, request: httpx.Request) -> Steps[httpx.Response]:
        try:
            response: httpx.Response = yield request
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            reason = without_number(str(error)) or "no connection was made in time"
            raise Unreachable(
                f"{self.url} cannot be reached: {reason}",
                hint="check that the server is running; `pinnace serve BUNDLE` starts one",
            ) from error
        except httpx.TimeoutException as error:
            if str(error) == TOO_LATE:
                raise BadAnswer(f"{self.url} did not end its answer in {self.longest:g} seconds") from error
            raise NoAnswer(
                f"{self.url} did not answer in {self._timeout:g} seconds",
                hint="the server may be overloaded; raise the timeout, or send fewer images at once",
            ) from error
        except httpx.TransportError as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise NoAnswer(f"{self.url} closed the connection without an answer: {reason}") from error
        except httpx.DecodingError as error:
            raise responses.not_a_pinnace_server(self.url) from error
        return response


def _path(verb: str, model: str | None) -> str:
    return f"/{verb}" if model is None else f"/models/{quote(model, safe='')}/{verb}"


def _params(top_k: int | None, threshold: float | None) -> dict[str, int | float]:
    given: dict[str, int | float | None] = {"top_k": top_k, "threshold": threshold}
    return {name: value for name, value in given.items() if value is not None}
