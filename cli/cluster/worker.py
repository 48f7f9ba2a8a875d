"""An actor: opens the bundle once, and answers for one shard of images after the other."""

from __future__ import annotations

import io
import json
import platform
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pinnace.cli.bulk.batches import answer_in_batches
from pinnace.cli.bulk.model_spec import ModelSpec
from pinnace.cli.cluster import parts
from pinnace.cli.cluster.job import ClusterJob, read_shard
from pinnace.models import file_stores
from pinnace.models.answer import Answer, Embedding
from pinnace.models.bundle import signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import FILE_NAME
from pinnace.models.concurrency import map_in_order
from pinnace.models.errors import BundleError, ImageError, PinnaceError
from pinnace.models.tracebacks import release_frames
from pinnace.models.urls import is_uri

# Images of a store that are fetched at once, while others are answered.
_FETCHES = 8
_TRIES = 4


def pack(bundle: Bundle, variant: str) -> bytes:
    """What it takes to run one variant of a bundle, as bytes, to be sent to other machines."""
    facts = bundle.manifest
    labels = [facts.labels] if facts.labels else []
    needed = {FILE_NAME, *bundle.variant(variant).all_files, facts.golden.file, *labels}
    files = signing.with_all_signed(bundle.folder, sorted(needed))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in sorted(files):
            archive.add(bundle.path(file), file)
    return buffer.getvalue()


@dataclass(frozen=True)
class ShardTask:
    """What every actor needs to know.

    Attributes:
        output: where the parts go.
        job: what is asked.
        spec: how the model is opened; its bundle stands in another folder on each machine.
    """

    output: str
    job: ClusterJob
    spec: ModelSpec


class ShardWorker:
    """Answers for shards, and writes a part for each.

    What goes wrong with more than an image is handed back, not raised: Ray would wrap it, and try again.
    """

    def __init__(self, task: ShardTask, bundle: Any) -> None:
        """Unpack the bundle, and load the model, whose files are compared with their hashes.

        Args:
            task: what to do.
            bundle: what `pack` gives, or Ray's reference to it.
        """
        self._task = task
        self._problem: PinnaceError | None = None
        try:
            self._model = self._open(bundle)
        except PinnaceError as error:
            self._problem = error

    def _open(self, bundle: Any) -> Any:
        if not isinstance(bundle, bytes):
            import ray

            bundle = ray.get(bundle)
        folder = Path(tempfile.mkdtemp(prefix="pinnace-"))
        try:
            with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
                archive.extractall(folder, filter="data")
            opened = Bundle.open(folder)
            if opened.version != self._task.job.version:
                raise BundleError(
                    "the bundle has changed on its way to a worker",
                    expected=self._task.job.version,
                    got=opened.version,
                )
            # What is read of it from here on is compared with its hashes.
            return replace(self._task.spec, bundle=opened).open()
        except OSError as error:
            raise BundleError(f"the bundle cannot be unpacked on a worker: {error.strerror}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # the runtime has it in memory

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        """Answer for some shards; what has a part already is not done again.

        Args:
            batch: `shard`, the numbers of the shards.

        Returns:
            `report`: for each shard JSON with `shard`, `earlier`, `labels` and `failed`, or with `problem`.
        """
        for shard in map(int, batch["shard"]):
            report: dict[str, Any]
            try:
                if self._problem is not None:
                    raise self._problem
                report = self._work(shard)
            except PinnaceError as error:
                report = {"problem": error.to_dict(), "machine": platform.node()}
            yield {"report": [json.dumps({"shard": shard, **report})]}

    def _work(self, shard: int) -> dict[str, Any]:
        job, output = self._task.job, self._task.output
        try:
            earlier = self._earlier(shard)
            if earlier is not None:
                return earlier
            paths = read_shard(output, shard)
        except OSError as error:
            raise file_stores.not_reached(output, error) from None
        rows = list(self._answers(paths))
        try:
            file_stores.write(output, job.part(shard), parts.encode(rows, job.format, job.use))
        except OSError as error:
            # In a store another run may have written it, and removed what was being written here.
            earlier = self._earlier(shard)
            if earlier is not None:
                return earlier
            raise file_stores.not_written(output, error) from None
        labels, failed = parts.count(parts.row(path, outcome) for path, outcome in rows)
        return {"earlier": False, "labels": labels, "failed": failed}

    def _earlier(self, shard: int) -> dict[str, Any] | None:
        """What to report of a part that is there, or None where there is none."""
        job = self._task.job
        place = file_stores.join(self._task.output, job.part(shard))
        if file_stores.kind_of(place) != "file":
            return None
        found = parts.summary(place, job.format, job.images_of(shard))
        return None if found is None else {"earlier": True, "labels": found[0], "failed": found[1]}

    def _answers(self, paths: list[str]) -> Iterator[tuple[str, Answer | Embedding | PinnaceError]]:
        if self._model.runtime.device != "cpu":
            yield from answer_in_batches(
                self._model, paths, _FETCHES, top_k=self._task.spec.top_k, read=_fetch
            )
            return
        ask = self._task.spec.of(self._model)
        if not any(map(is_uri, paths)):
            for path in paths:
                yield path, _outcome(ask, path)
            return
        with closing(map_in_order(_fetch, paths, _FETCHES, ahead=2 * _FETCHES)) as fetched:
            for path, data in fetched:
                if isinstance(data, PinnaceError):
                    if not isinstance(data, ImageError):
                        raise data
                    yield path, data
                else:
                    yield path, _outcome(ask, data)


def _outcome(ask: Any, source: Any) -> Answer | Embedding | ImageError:
    try:
        answer: Answer | Embedding = ask(source)
        return answer
    except ImageError as error:
        release_frames(error)
        return error


def _fetch(path: str) -> Any:
    """The bytes of an image in a store; a local path as it is.

    Raises:
        ImageError: it is not there, or may not be read.
        UsageError: the store does not answer, asked several times.
    """
    if not is_uri(path):
        return path
    for number in range(_TRIES):
        try:
            return file_stores.read(path)
        except FileNotFoundError:
            raise ImageError(f"there is no file {path}") from None
        except PermissionError:
            raise ImageError(f"the file {path} may not be read") from None
        except OSError as error:
            if "ACCESS_DENIED" in str(error):
                raise ImageError(f"the file {path} may not be read") from None
            if number == _TRIES - 1:
                raise file_stores.not_reached(path, error) from None
        time.sleep(2**number / 2)
    raise AssertionError
