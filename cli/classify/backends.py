"""What answers `pinnace classify`: a server, or a bundle in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pinnace.cli.classify.job import AHEAD, Backend
from pinnace.cli.console import print_note
from pinnace.models.answer import Answer

if TYPE_CHECKING:
    from pinnace.cli.bulk.model_spec import ModelSpec

# Seconds. A server may be silent for long, and Ctrl-C should still end the command soon.
JOIN_TIMEOUT = 1.0

# With fewer images than this for each process, threads are done before processes have started.
_WORTH_A_PROCESS = 200


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
def bundle_backend(spec: ModelSpec, *, use_profile: bool, images: int) -> Iterator[Backend[Any]]:
    """A bundle: loaded once for all threads, or in each of several processes where there are many images.

    Args:
        spec: what to open; its options say how many images at once.
        use_profile: whether what `pinnace tune` found is used.
        images: how many there are.

    Raises:
        PinnaceError: it cannot be opened; see `ModelSpec`.
    """
    from pinnace.cli.bulk.batches import answer_in_batches
    from pinnace.cli.bulk.processes import map_in_processes

    spec, note = spec.chosen(use_profile=use_profile)
    if note is not None:
        print_note(note)
    at_once = spec.options.concurrency
    if at_once > 1 and images >= _WORTH_A_PROCESS * at_once and spec.device == "cpu":
        spec.check()
        alone = replace(spec, options=replace(spec.options, concurrency=1))
        many = partial(map_in_processes, alone.asker, processes=at_once, ahead=AHEAD)
        yield Backend(lambda image: alone.asker()(image), at_once, many=many)
        return
    with spec.open() as model:
        in_batches = None
        if model.runtime.device != "cpu" and images > 1:
            in_batches = partial(answer_in_batches, model, threads=at_once, top_k=spec.top_k)
        # Without a timeout: a native library must not be left at work while the process ends.
        yield Backend(spec.of(model), at_once if model.runtime.concurrent else 1, many=in_batches)
