"""Whom `pinnace classify` asks: a server, or a bundle in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pinnace.cli.classify.job import Asked

# A server may be silent for long, and Ctrl-C should not take long.
_PATIENCE = 1.0


@contextmanager
def a_server(
    url: str,
    top_k: int | None,
    *,
    api_key: str | None,
    retries: int,
    retries_when_full: int,
    concurrency: int,
    model: str | None = None,
) -> Iterator[Asked]:
    """A server, with one client for all threads.

    Raises:
        UsageError: the URL is none, or the key cannot be sent.
    """
    from pinnace.clients.client import Client

    with Client(url, retries=retries, retries_when_full=retries_when_full, api_key=api_key) as client:
        yield Asked(lambda image: client.classify(image, top_k, model=model), concurrency, _PATIENCE)


@contextmanager
def a_bundle(
    folder: Path,
    top_k: int | None,
    *,
    variant: str | None,
    runtime: str | None,
    threads: int,
    concurrency: int,
) -> Iterator[Asked]:
    """A bundle, loaded once for all threads.

    Raises:
        PinnaceError: it cannot be opened, or `top_k` is out of range; see `Classifier`.
    """
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.classifier import Classifier
    from pinnace.models.runtimes.base import RuntimeOptions

    options = RuntimeOptions(threads=threads, concurrency=concurrency)
    with Classifier(Bundle.open(folder), variant, runtime, options) as classifier:
        classifier.check_top_k(top_k)
        # No limit to the patience: a native library must not be left at work while the process ends.
        yield Asked(lambda image: classifier.classify(image, top_k), concurrency)
