"""The client for event loops: asyncio, or trio."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx
from typing_extensions import Self

from pinnace.clients.client import CONNECTIONS
from pinnace.clients.deadline import bound_answers
from pinnace.clients.encoding import ImageSource
from pinnace.clients.responses import ServedModel
from pinnace.clients.sansio import SansIoClient, Sleep, Step, Steps
from pinnace.models.answer import Answer, Embedding
from pinnace.models.concurrency import check_concurrency
from pinnace.models.errors import PinnaceError

T = TypeVar("T")


class AsyncClient:
    """A client of one server, as `Client` is. Open it in an `async with` statement."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        retries_when_full: int | None = None,
        api_key: str | None = None,
    ) -> None:
        """Prepare; see `Client`."""
        self._sansio = SansIoClient(
            url, timeout=timeout, retries=retries, retries_when_full=retries_when_full, api_key=api_key
        )
        self.url = self._sansio.url
        self._http = httpx.AsyncClient(limits=CONNECTIONS)
        bound_answers(self._http, self._sansio.longest)

    async def classify(
        self,
        image: ImageSource,
        top_k: int | None = None,
        *,
        model: str | None = None,
        threshold: float | None = None,
    ) -> Answer:
        """Send one image and return the server's answer; see `Client.classify`."""
        return await self._run(self._sansio.classify(image, top_k, model, threshold))

    async def embed(self, image: ImageSource, *, model: str | None = None) -> Embedding:
        """Send one image and return its vector; see `Client.embed`."""
        return await self._run(self._sansio.embed(image, model))

    async def classify_batch(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = None,
        *,
        model: str | None = None,
        threshold: float | None = None,
    ) -> list[Answer | PinnaceError]:
        """Send several images in one request; see `Client.classify_batch`."""
        return await self._run(self._sansio.classify_batch(images, top_k, model, threshold))

    async def classify_many(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = None,
        *,
        model: str | None = None,
        threshold: float | None = None,
        concurrency: int = 8,
    ) -> list[Answer | PinnaceError]:
        """Send each image in a request of its own, several at once; see `Client.classify_many`."""
        check_concurrency(concurrency)
        outcomes: dict[int, Answer | PinnaceError] = {}
        numbered = enumerate(images)

        async def ask() -> None:
            for number, image in numbered:
                try:
                    outcomes[number] = await self.classify(image, top_k, model=model, threshold=threshold)
                except PinnaceError as error:
                    outcomes[number] = error

        async with anyio.create_task_group() as group:
            for _ in range(concurrency):
                group.start_soon(ask)
        return [outcomes[number] for number in sorted(outcomes)]

    async def models(self) -> tuple[ServedModel, ...]:
        """The models that the server has; see `Client.models`."""
        return await self._run(self._sansio.models())

    async def ready(self) -> bool:
        """Whether the server is ready; see `Client.ready`."""
        return await self._run(self._sansio.ready())

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._do(step)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Step) -> Any:
        if isinstance(step, httpx.Request):
            response = await self._http.send(step, stream=True)
            try:
                body = self._sansio.body(response)
                async for part in response.aiter_raw():
                    body.add(part)
            finally:
                await response.aclose()
            return body.response(response)
        if isinstance(step, Sleep):
            return await anyio.sleep(step.seconds)
        return await anyio.to_thread.run_sync(step)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
