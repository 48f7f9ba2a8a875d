"""A small HTTP client for a running server."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self

from pinnace.models.answer import Answer
from pinnace.models.errors import ImageError, ServerError, UsageError

_ANSWER = TypeAdapter(Answer)


class Client:
    """Asks one server. Open it in a `with` statement."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        """Connect to nothing yet.

        Args:
            url: the server's root, such as `http://localhost:3000`.
            timeout: seconds for one request.

        Raises:
            UsageError: the URL is none.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no URL", expected="http://HOST:PORT or https://HOST:PORT")
        self.url = url.rstrip("/")
        self._http = httpx.Client(timeout=timeout)

    def classify(self, image: Path | bytes, top_k: int | None = None) -> Answer:
        """Send one image as it is and return the server's answer.

        Args:
            image: a path, or the encoded bytes.
            top_k: how many classes; the server's default where None.

        Raises:
            ImageError: the file cannot be read.
            ServerError: the server cannot be reached, refuses the image, or does not answer as it should.
        """
        data = image if isinstance(image, bytes) else _read(image)
        try:
            response = self._http.post(
                f"{self.url}/classify",
                content=data,
                params={} if top_k is None else {"top_k": top_k},
                headers={"Content-Type": "application/octet-stream"},
            )
        except httpx.TimeoutException:
            raise ServerError(f"{self.url} did not answer in {self._http.timeout.read:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(
                f"{self.url} cannot be reached: {error}",
                hint="is it running? `pinnace serve BUNDLE` starts one",
            ) from None
        if response.is_error:
            raise _refusal(self.url, response)
        try:
            return _ANSWER.validate_json(response.content)
        except ValidationError:
            raise ServerError(f"{self.url} answers, but not as a pinnace server does") from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from None


def _refusal(url: str, response: httpx.Response) -> ServerError:
    try:
        error: dict[str, Any] = response.json()["error"]
        return ServerError(f"{error['message']} ({response.status_code} {error['code']})", hint=error["hint"])
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        return ServerError(f"{url} answered with status {response.status_code} and no explanation")
