"""URLs and URIs as text: what is one, and how it is shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_URI = re.compile(r"([a-z][a-z0-9+.-]+)://")


def is_uri(name: str) -> bool:
    """Whether a name is a URI such as `s3://bucket/photos`, and not a local path."""
    return _URI.match(name) is not None


def split_scheme(name: str) -> tuple[str, str]:
    """The scheme of a URI and what follows; no scheme for a local path."""
    match = _URI.match(name)
    return ("", name) if match is None else (match[1], name[match.end() :])


def without_secrets(url: str) -> str:
    """A URL without a name and password, query or fragment: messages and logs show it so.

    What stands after `@` in `hf://owner/name@revision` is in its path, and stays.
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
