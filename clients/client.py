"""A client that blocks; it may be used from several threads at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

import httpx
from typing_extensions import Self

from pinnace.clients.deadline import bound_answers
from pinnace.clients.encoding import ImageSource
from pinnace.clients.responses import ServedModel
from pinnace.clients.sansio import SansIoClient, Sleep, Step, Steps
from pinnace.models.answer import Answer, Embedding
from pinnace.models.concurrency import map_in_order
from pinnace.models.errors import PinnaceError

T = TypeVar("T")

# All connections are kept open: opening one costs more than a small answer.
CONNECTIONS = httpx.Limits(max_connections=100)


class Client:
    """A client of one server. Open it in a `with` statement.

    A request that meets a full server (429, 503), no connection, or a connection that is cut is made again,
    after a wait that doubles each time and is at least as long as the server asks for with `Retry-After`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        retries_when_full: int | None = None,
        api_key: str | None = None,
    ) -> None:
        """Prepare; the first request connects.

        Args:
            url: the server's root, such as `http://localhost:3000`.
            timeout: seconds of silence: to make a connection, and until the server sends or takes more bytes.
                What it sends without such a pause, headers or body, has to end within ten times as many.
            retries: how often a request is made again where the connection fails.
            retries_when_full: how often where the server is full (429, 503); None: as `retries`.
            api_key: sent as `Authorization: Bearer KEY`, where the server asks for one.

        Raises:
            UsageError: the URL is not one, a number is out of range, or the key cannot stand in a header.
        """
        self._sansio = SansIoClient(
            url, timeout=timeout, retries=retries, retries_when_full=retries_when_full, api_key=api_key
        )
        self.url = self._sansio.url
        self._http = httpx.Client(limits=CONNECTIONS)
        bound_answers(self._http, self._sansio.longest)

    def classify(
        self,
        image: ImageSource,
        top_k: int | None = None,
        *,
        model: str | None = None,
        threshold: float | None = None,
    ) -> Answer:
        """Send one image and return the server's answer.

        Args:
            image: a path, encoded bytes, a Pillow image, or a uint8 array of shape (height, width),
                (height, width, 3) or (height, width, 4). Pixels are sent as PNG.
            top_k: how many classes; the server's default where None.
            model: which of the server's models; the first where None.
            threshold: from which score on a label counts as true, where several may be; the model's own where
                None.

        Raises:
            ImageError: the file cannot be read.
            UsageError: the image is of another kind.
            Unreachable: no connection can be made.
            NoAnswer: no answer comes.
            Refused: the server answers with an error.
            BadAnswer: what answers is not a Pinnace server.
        """
        return self._run(self._sansio.classify(image, top_k, model, threshold))

    def embed(self, image: ImageSource, *, model: str | None = None) -> Embedding:
        """Send one image to a model without a head and return its vector.

        Args:
            image: as `classify` takes it.
            model: which of the server's models; its first where None.

        Raises:
            As `classify`.
        """
        return self._run(self._sansio.embed(image, model))

    def classify_batch(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = None,
        *,
        model: str | None = None,
        threshold: float | None = None,
    ) -> list[Answer | PinnaceError]:
        """Send several images in one request; the server sets the limit, 64 by default.

        Args:
            images: as `classify` takes them.
            top_k: how many classes; the server's default where None.
            model: which of the server's models; the first where None.
            threshold: from which score on a label counts as true, where several may be; the model's own where
                None.

        Returns:
            For each image, in order, its answer; or `ImageError` where its file cannot be read, or `Refused`.

        Raises:
            ServerError: as `classify`, for the request as a whole.
        """
        return self._run(self._sansio.classify_batch(images, top_k, model, threshold))

    def classify_many(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = None,
        *,
        model: str | None = None,
        threshold: float | None = None,
        concurrency: int = 8,
    ) -> list[Answer | PinnaceError]:
        """Send each image in a request of its own, several at once.

        Args:
            images: as `classify` takes them; an iterator is read no faster than images are sent.
            top_k: how many classes; the server's default where None.
            model: which of the server's models; the first where None.
            threshold: from which score on a label counts as true, where several may be; the model's own where
                None.
            concurrency: requests at once.

        Returns:
            For each image, in order, its answer or the error that `classify` would have raised.

        Raises:
            UsageError: concurrency is below 1.
        """

        def ask(image: ImageSource) -> Answer:
            return self.classify(image, top_k, model=model, threshold=threshold)

        return [outcome for _, outcome in map_in_order(ask, images, concurrency)]

    def models(self) -> tuple[ServedModel, ...]:
        """The models that the server has; the first answers where a request names none.

        Raises:
            ServerError: as `classify`.
        """
        return self._run(self._sansio.models())

    def ready(self) -> bool:
        """Whether the server would answer now; False also where it cannot be reached. Asks once.

        Raises:
            Refused: the server answers with a status other than 200 and 503.
        """
        return self._run(self._sansio.ready())

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._do(step)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Step) -> Any:
        if isinstance(step, httpx.Request):
            response = self._http.send(step, stream=True)
            try:
                body = self._sansio.body(response)
                for part in response.iter_raw():
                    body.add(part)
            finally:
                response.close()
            return body.response(response)
        if isinstance(step, Sleep):
            return time.sleep(step.seconds)
        return step()

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
