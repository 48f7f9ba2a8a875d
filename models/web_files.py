"""Files below an `https://` folder: piece by piece, from any byte on, and never from another host."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import quote, urlsplit

import httpx

from pinnace.models.errors import ServerError, UsageError
from pinnace.models.urls import without_secrets

_MOST_REDIRECTS = 5
_TIMEOUT = httpx.Timeout(30, connect=10)  # for each piece, and not for all of them


class CutError(Exception):
    """The connection broke or fell silent; what came may be continued."""


@contextmanager
def opened(folder: str, name: str, start: int = 0) -> Iterator[tuple[int, Iterator[bytes]]]:
    """A file below a folder: the byte at which what comes begins, and the pieces.

    Args:
        folder: a URL without a query.
        name: below it, with slashes.
        start: the byte from which on it is asked for; a server may send all of it.

    Raises:
        FileNotFoundError: the server has no such file.
        UsageError: the URL is none of a folder.
        ServerError: the server refuses, or sends the client to another host.
        CutError: it does not answer, or stops in the middle.
    """
    if urlsplit(folder).query:
        raise UsageError(
            f"{without_secrets(folder)} has a query, and so is no folder that files are in",
            hint="name the folder that has manifest.json in it",
        )
    full = f"{folder.rstrip('/')}/{quote(name)}"
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    shown = without_secrets(full)
    try:
        url = httpx.URL(full)
        with httpx.Client(timeout=_TIMEOUT, verify=_certificates()) as client:
            for _ in range(_MOST_REDIRECTS):
                with client.stream("GET", url, headers=headers) as response:
                    if not response.is_redirect:
                        yield _begins_at(response, start, shown), _pieces(response)
                        return
                    url = _followed(url, response, shown)
            raise ServerError(f"{shown} is redirected more than {_MOST_REDIRECTS} times")
    except httpx.TransportError as error:
        raise CutError(f"{type(error).__name__}: {error}") from None
    except httpx.InvalidURL:
        raise UsageError(f"{shown} is not a URL") from None


@lru_cache
def _certificates() -> ssl.SSLContext:
    """What certificates are trusted: reading them takes longer than a small file from a server nearby."""
    return httpx.create_ssl_context()


def _begins_at(response: httpx.Response, start: int, shown: str) -> int:
    if response.status_code == 404:
        raise FileNotFoundError(shown)
    if response.status_code == 206:
        said = response.headers.get("content-range", "")
        return start if said.startswith(f"bytes {start}-") else 0
    if response.status_code == 416:
        return 0  # there is nothing behind that byte
    if response.status_code != 200:
        raise ServerError(f"{shown} was answered with {response.status_code} {response.reason_phrase}")
    return 0


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    if response.status_code != 416:
        yield from response.iter_raw()  # as it comes: pieces of one size would lose the last before a cut


def _followed(url: httpx.URL, response: httpx.Response, shown: str) -> httpx.URL:
    there = url.join(response.headers.get("location", ""))
    if (there.scheme, there.host, there.port) != (url.scheme, url.host, url.port):
        raise ServerError(f"{shown} is redirected to another host, {there.host}, which is not followed")
    return there
