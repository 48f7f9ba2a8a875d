"""What a run on a cluster works off, as it stands beside its answers: the list of images, and what is asked.

OUT/_job.json             what is asked, by which model, and the digest of the list
OUT/_list/00000.parquet   the list, cut into shards: each is a row group, and a thousand make a file
OUT/_tmp/                 what is being written
OUT/part-0000000.parquet  the answers to the first shard
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from pinnace.cli.classify.row_file import lock
from pinnace.models import file_stores
from pinnace.models.errors import UsageError

_FILE = "_job.json"
_SHARDS_OF_A_LIST = 1000
_SMALLEST, _LARGEST = 32, 2048

Paths = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class ClusterJob:
    """What is to be done; two runs of the same job write the same parts.

    Attributes:
        images: how many.
        shard_size: images of a shard.
        list_digest: SHA-256 over the paths, each with a zero byte after it.
        use: `classify` or `embed`.
        model: the bundle's name.
        version: the bundle's version, which its hashes hang on.
        variant: the variant's name.
        format: `parquet` or `jsonl`.
        top_k: how many classes.
        threshold: from which score on a label counts as true, or None.
    """

    images: int
    shard_size: int
    list_digest: str
    use: str
    model: str
    version: str
    variant: str
    format: str
    top_k: int | None
    threshold: float | None

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.images // self.shard_size)

    def images_of(self, shard: int) -> int:
        """How many images a shard has."""
        return min(self.shard_size, self.images - shard * self.shard_size)

    def part(self, shard: int) -> str:
        """The file name of a shard's answers."""
        return f"part-{shard:07}.{self.format}"


def measure(paths: Paths) -> tuple[int, str]:
    """How many paths there are, and their digest."""
    digest = hashlib.sha256()
    count = sum(1 for _ in _hashed(paths(), digest))
    return count, digest.hexdigest()


def _hashed(paths: Iterator[str], digest: Any) -> Iterator[str]:
    """The same paths, each of which is counted in a digest."""
    for path in paths:
        digest.update(os.fsencode(path) + b"\0")
        yield path


def shard_size_for(images: int) -> int:
    """Images of a shard where nobody says: a 256th of all, and from 32 to 2,048."""
    return min(max(images // 256, _SMALLEST), _LARGEST)


def begin(output: str, job: ClusterJob, paths: Paths) -> bool:
    """Write the list and the job beside where the answers go, or see that they are the same there.

    Returns:
        Whether an earlier run began.

    Raises:
        UsageError: another job was begun there, something else is there, or nothing can be written.
    """
    try:
        if file_stores.kind_of(file_stores.join(output, _FILE)) == "file":
            _check_same(output, job)
            return True
        if file_stores.names_in(output):
            raise UsageError(
                f"{output} has files that no run on a cluster wrote, so nothing was written there",
                hint="choose another folder",
            )
        digest = hashlib.sha256()
        rest = _hashed(paths(), digest)
        for number in itertools.count():
            shards = (list(itertools.islice(rest, job.shard_size)) for _ in range(_SHARDS_OF_A_LIST))
            data = _list_file(itertools.takewhile(bool, shards))
            if data is None:
                break
            file_stores.write(output, _list_name(number), data)
        if digest.hexdigest() != job.list_digest:
            raise UsageError("the list of images changed while it was read", hint="run the command again")
        file_stores.write(output, _FILE, (json.dumps(asdict(job), indent=2) + "\n").encode())
    except OSError as error:
        raise file_stores.not_written(output, error) from None
    _check_same(output, job)  # another run may have begun at the same moment
    return False


def _check_same(output: str, job: ClusterJob) -> None:
    try:
        found = ClusterJob(**json.loads(file_stores.read(file_stores.join(output, _FILE))))
    except (ValueError, TypeError):
        raise UsageError(f"{output}/{_FILE} is damaged", hint="choose another folder") from None
    if found.list_digest != job.list_digest:
        raise UsageError(
            f"{output} has answers to another list of images",
            expected=f"{found.images:,} images, as in {output}/_list",
            got=f"{job.images:,} images"
            + (", and other names or another order" if job.images == found.images else ""),
            hint="choose another folder for the list as it is now",
        )
    for field in fields(ClusterJob):
        before, now = getattr(found, field.name), getattr(job, field.name)
        if before != now:
            raise UsageError(
                f"{output} was begun with another {field.name.replace('_', ' ')}",
                expected=str(before),
                got=str(now),
                hint="give the same as before, or choose another folder",
            )


def _list_name(number: int) -> str:
    return f"_list/{number:05}.parquet"


def _list_file(shards: Iterator[list[str]]) -> bytes | None:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("path", pyarrow.binary())])  # a local name may not be text
    buffer, empty = io.BytesIO(), True
    with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for shard in shards:
            empty = False
            paths = pyarrow.array([os.fsencode(path) for path in shard], pyarrow.binary())
            writer.write_table(pyarrow.table([paths], schema=schema), row_group_size=len(shard))
    return None if empty else buffer.getvalue()


def read_shard(output: str, shard: int) -> list[str]:
    """The paths of a shard, as they stand beside the answers."""
    import pyarrow.parquet

    file, group = divmod(shard, _SHARDS_OF_A_LIST)
    store, path = file_stores.open_store(file_stores.join(output, _list_name(file)))
    with store.open_input_file(path) as stream:
        rows = pyarrow.parquet.ParquetFile(stream).read_row_group(group)["path"].to_pylist()
    return [os.fsdecode(row) for row in rows]


@contextlib.contextmanager
def taken(output: str) -> Iterator[None]:
    """Hold a local folder for this run; a store has no locks, and there two runs of one job write the same.

    Raises:
        UsageError: another run holds it, or it cannot be written.
    """
    folder = file_stores.local_folder(output)
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise file_stores.not_written(output, error) from None
    try:
        lock(handle, output, "folder")
        yield
    finally:
        os.close(handle)
