"""What answers `pinnace classify`: a server, or a bundle in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pinnace.cli.classify.job import Backend
from pinnace.cli.console import print_note
from pinnace.models.answer import Answer

# Seconds. A server may be silent for long, and Ctrl-C should still end the command soon.
JOIN_TIMEOUT = 1.0


@contextmanager
def server_backend(
    url: str,
    top_k: int | None,
    *,
    api_key: str | None,
    retries: int,
    retries_when_full: int,
    concurrency: int,
    model: str | None = None,
    threshold: float | None = None,
) -> Iterator[Backend[Answer]]:
    """A server, with one client for all threads.

    Raises:
        UsageError: the URL is not one, or the key cannot be sent.
    """
    from pinnace.clients.client import Client

    with Client(url, retries=retries, retries_when_full=retries_when_full, api_key=api_key) as client:
        yield Backend(
            lambda image: client.classify(image, top_k, model=model, threshold=threshold),
            concurrency,
            JOIN_TIMEOUT,
        )


@contextmanager
def bundle_backend(
    folder: Path,
    top_k: int | None,
    *,
    variant: str | None,
    runtime: str | None,
    use_profile: bool,
    threads: int,
    concurrency: int,
    threshold: float | None = None,
) -> Iterator[Backend[Answer]]:
    """A bundle, loaded once for all threads.

    Raises:
        PinnaceError: it cannot be opened, or `top_k` is out of range; see `Classifier`.
    """
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.classifier import Classifier
    from pinnace.models.runtimes.base import RuntimeOptions
    from pinnace.models.selection import select

    bundle = Bundle.open(folder)
    chosen = select(bundle, variant, runtime, use_profile=use_profile)
    options = RuntimeOptions(threads=threads, device=chosen.device, concurrency=concurrency)
    if chosen.note is not None:
        print_note(chosen.note)
    with Classifier(bundle, chosen.variant, chosen.runtime, options, threshold) as classifier:
        classifier.check_top_k(top_k)
        # Without a timeout: a native library must not be left at work while the process ends.
        yield Backend(lambda image: classifier.classify(image, top_k), concurrency)
