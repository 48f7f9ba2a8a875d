"""What RFC 9112 asks of the head of a request besides what the parser checks."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pinnace.serving.errors import HeadersTooLarge, MalformedRequest

Headers = list[tuple[bytes, bytes]]

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


def check_head(version: str, headers: Headers) -> None:
    """Look at the version and at `Host` (RFC 9112, 2.3 and 3.2).

    Args:
        version: such as `1.1`.
        headers: names in small letters.

    Raises:
        MalformedRequest: a request of HTTP/1.1 must have one `Host`.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        if version not in ("1.1", "1.0"):
            raise MalformedRequest("the request is not HTTP/1.1")
        if hosts:
            raise MalformedRequest("the request has more than one Host", hint="send one")
        if version == "1.1":
            raise MalformedRequest("the request has no Host", hint="HTTP/1.1 wants one")
    elif not _HOST.fullmatch(hosts[0]):
        raise MalformedRequest("the Host of the request is not a name or an address")


def check_size(url: bytes, headers: Headers, limit: int) -> None:
    """Count the bytes of a head that came in one piece with what follows it.

    Raises:
        HeadersTooLarge: there are more than `limit`.
    """
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > limit:
        raise headers_too_large(limit)


def headers_too_large(limit: int) -> HeadersTooLarge:
    """The error for a head of more than `limit` bytes."""
    return HeadersTooLarge(f"the headers are longer than {limit} bytes")


def with_path(url: bytes) -> bytes:
    """A target with a path in it, which `http://host` and `http://host?query` leave out (RFC 9112, 3.2.2)."""
    scheme, separator, rest = url.partition(b"://")
    if url.startswith(b"/") or not separator:
        return url
    end = min((at for at in map(rest.find, (b"/", b"?")) if at >= 0), default=len(rest))
    if rest[end : end + 1] == b"/":
        return url
    return scheme + separator + rest[:end] + b"/" + rest[end:]


def head_without_upgrade(
    method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """The head of a request that offers to go on in another protocol, without the offer.

    A server may ignore it (RFC 9110, 7.8), but the parser takes what follows it for the other protocol.
    """
    lines = b"".join(b"%s: %s\r\n" % header for header in headers if header[0] != b"upgrade")
    return b"%s %s HTTP/%s\r\n%s\r\n" % (method, url, version.encode(), lines)
