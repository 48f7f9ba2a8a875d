"""Lists, shards and parts without a cluster: what an actor does, in this process."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from pyarrow import fs

from pinnace.cli.bulk.model_spec import ModelSpec
from pinnace.cli.cluster import worker
from pinnace.cli.cluster.inputs import paths_of
from pinnace.cli.cluster.job import ClusterJob, begin, measure, read_shard, shard_size_for, taken
from pinnace.cli.cluster.worker import ShardTask, ShardWorker, pack
from pinnace.models import file_stores
from pinnace.models.bundle import signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import MissingDependency, UsageError, from_dict
from pinnace.models.install import install_line
from pinnace.models.runtimes.onnxruntime import OnnxRuntime
from pinnace.models.runtimes.openvino import OpenVino
from support.errors import error_of
from support.s3 import s3_server
from support.signing_keys import Keys
from support.tiny_bundle import build_bundle

IMAGES = 11
BROKEN = 5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("cluster") / "tiny.bundle")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven small pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("cluster") / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(IMAGES):
        path = folder / ("sub" if number % 2 else "") / f"{number:02}.png"
        if number == BROKEN:
            path.write_text("no image")
        else:
            Image.new("RGB", (9, 9), (20 * number, 250 - 20 * number, 90)).save(path)
    (folder / "notes.txt").write_text("no image either")
    return folder


@pytest.fixture(scope="module")
def bucket(photos: Path) -> str:
    """An S3 server on loopback with the pictures in a bucket."""
    with s3_server() as store:
        fs.copy_files(str(photos), "bucket/photos", fs.LocalFileSystem(), store)
        yield "s3://bucket"


def job_for(tiny: Path, inputs: list[str], output: str, format: str = "parquet", size: int = 4) -> ShardTask:
    bundle = Bundle.open(tiny)
    images, digest = measure(lambda: paths_of(inputs))
    job = ClusterJob(
        images,
        size,
        digest,
        "classify",
        "tiny",
        bundle.version,
        "onnx-fp32",
        format,
        2,
        None,
    )
    begin(output, job, lambda: paths_of(inputs))
    return ShardTask(output, job, ModelSpec(bundle, "classify", 2, "onnx-fp32"))


def work(task: ShardTask, tiny: Path, shards: list[int] | None = None) -> list[dict]:
    actor = ShardWorker(task, pack(Bundle.open(tiny), "onnx-fp32"))
    told = actor({"shard": range(task.job.shards) if shards is None else shards})
    return [json.loads(text) for batch in told for text in batch["report"]]


def rows_of(output: str) -> list[dict]:
    names = sorted(name for name in file_stores.names_in(output) if name.startswith("part-"))
    found: list[dict] = []
    for name in names:
        data = file_stores.read(file_stores.join(output, name))
        if name.endswith(".jsonl"):
            found += map(json.loads, data.decode().splitlines())
        else:
            found += pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    return found


def test_every_image_has_its_row_as_the_classifier_answers(tiny: Path, photos: Path, tmp_path: Path) -> None:
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"))
    reports = work(task, tiny)
    assert [report["shard"] for report in reports] == [0, 1, 2]
    assert sum(report["failed"] for report in reports) == 1
    rows = rows_of(task.output)
    assert [row["path"] for row in rows] == list(paths_of([str(photos)]))
    with Classifier(Bundle.open(tiny)) as classifier:
        for row in rows:
            if row["path"].endswith(f"{BROKEN:02}.png"):
                assert row["error_code"] == "unsupported_image_type"
                assert row["error"] == "the bytes are not of an accepted image type"
                assert row["predictions"] is None
                continue
            expected = classifier.classify(row["path"], 2)
            assert row["error"] is None
            assert [one["label"] for one in row["predictions"]] == [p.label for p in expected.predictions]
            assert [one["probability"] for one in row["predictions"]] == pytest.approx(
                [p.probability for p in expected.predictions], rel=1e-6
            )
            assert (row["model"], row["variant"], row["version"]) == ("tiny", "onnx-fp32", expected.version)
    assert sorted(file_stores.names_in(task.output)) == ["_job.json", *(task.job.part(n) for n in range(3))]


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_a_part_that_is_there_is_not_done_again(
    tiny: Path, photos: Path, tmp_path: Path, format: str
) -> None:
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"), format)
    first = work(task, tiny)
    part = tmp_path / "out" / task.job.part(1)
    before = part.stat().st_mtime_ns
    (tmp_path / "out" / task.job.part(2)).unlink()
    again = work(task, tiny)
    assert part.stat().st_mtime_ns == before
    assert [report["earlier"] for report in again] == [True, True, False]
    assert [(r["labels"], r["failed"]) for r in again] == [(r["labels"], r["failed"]) for r in first]
    assert len(rows_of(task.output)) == IMAGES


def test_a_store_is_read_and_written(bucket: str, tiny: Path, photos: Path, tmp_path: Path) -> None:
    local = job_for(tiny, [str(photos)], str(tmp_path / "out"))
    work(local, tiny)
    remote = job_for(tiny, [f"{bucket}/photos"], f"{bucket}/answers")
    reports = work(remote, tiny)
    assert sum(report["failed"] for report in reports) == 1
    found, expected = rows_of(remote.output), rows_of(local.output)
    prefix = (f"{bucket}/photos/", f"{photos}/")
    for rows, start in zip((found, expected), prefix, strict=True):
        for row in rows:
            row["path"] = row["path"].removeprefix(start)
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert work(remote, tiny)[0]["earlier"]
    assert file_stores.kind_of(f"{bucket}/answers/_tmp") == "folder"
    file_stores.remove(f"{bucket}/answers/_tmp")
    assert file_stores.kind_of(f"{bucket}/answers/_tmp") == "nothing"
    assert list(paths_of([f"{bucket}/photos/*/0[13].png"])) == [
        f"{bucket}/photos/sub/01.png",
        f"{bucket}/photos/sub/03.png",
    ]
    missing = job_for(tiny, [f"{bucket}/photos/none.png"], f"{bucket}/other")
    assert work(missing, tiny)[0]["failed"] == 1
    assert rows_of(missing.output)[0]["error"] == f"there is no file {bucket}/photos/none.png"


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_a_part_that_is_not_whole_is_done_again(
    tiny: Path, photos: Path, tmp_path: Path, format: str
) -> None:
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"), format)
    first = work(task, tiny)
    expected = rows_of(task.output)
    parts = [tmp_path / "out" / task.job.part(number) for number in range(3)]
    whole = parts[0].read_bytes()
    parts[0].write_bytes(b"")
    parts[1].write_bytes(parts[1].read_bytes()[:-20])
    parts[2].write_bytes(whole)  # of as many images as the first has, and one too many here
    again = work(task, tiny)
    assert [report["earlier"] for report in again] == [False, False, False]
    assert [(r["labels"], r["failed"]) for r in again] == [(r["labels"], r["failed"]) for r in first]
    assert rows_of(task.output) == expected


def test_a_part_that_another_run_has_written_meanwhile_is_taken(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"))
    write = file_stores.write

    def slower(folder: str, name: str, data: bytes) -> None:
        """The other run writes the same part, ends, and removes what is being written."""
        write(folder, name, data)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(file_stores, "write", slower)
    assert [report["earlier"] for report in work(task, tiny)] == [True] * 3
    assert len(rows_of(task.output)) == IMAGES


def test_another_list_another_question_and_another_run_are_refused(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    task = job_for(tiny, [str(photos)], output)
    assert begin(output, task.job, lambda: paths_of([str(photos)]))
    refused = error_of(UsageError, lambda: job_for(tiny, [str(photos / "sub")], output))
    assert refused.message == f"{output} has answers to another list of images"
    assert refused.got == "5 images"
    refused = error_of(UsageError, lambda: job_for(tiny, [str(photos)], output, "jsonl"))
    assert refused.message == f"{output} was begun with another format"
    assert (refused.expected, refused.got) == ("parquet", "jsonl")
    refused = error_of(UsageError, lambda: job_for(tiny, [str(photos)], str(photos)))
    assert refused.message.endswith("has files that no run on a cluster wrote, so nothing was written there")

    def changing() -> Iterator[str]:
        """Other names each time they are asked for."""
        calls.append(1)
        return iter([f"/photos/{len(calls)}.jpg"])

    calls: list[int] = []
    other = str(tmp_path / "other")
    job = replace(task.job, images=1, list_digest=measure(changing)[1])
    assert error_of(UsageError, lambda: begin(other, job, changing)).message == (
        "the list of images changed while it was read"
    )
    assert not Path(other, "_job.json").exists()
    with taken(output), pytest.raises(UsageError, match="another run is writing"), taken(output):
        pass


def test_shards_depend_on_the_list_and_their_size_alone(tiny: Path, tmp_path: Path) -> None:
    paths = [f"/photos/{number}.jpg" for number in range(3010)]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    task = job_for(tiny, [str(tmp_path / "list.txt")], str(tmp_path / "out"), size=3)
    assert task.job.shards == 1004
    assert len(list((tmp_path / "out" / "_list").iterdir())) == 2
    assert [path for shard in range(1004) for path in read_shard(task.output, shard)] == paths
    assert [task.job.images_of(shard) for shard in (0, 1003)] == [3, 1]
    assert [shard_size_for(count) for count in (1, 10**5, 10**9)] == [32, 390, 2048]


def test_a_store_that_stutters_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError("busy"), OSError("busy"), OSError("busy"), b"image"]
    waits: list[float] = []

    def stutter(_: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(file_stores, "read", stutter)
    monkeypatch.setattr(worker.time, "sleep", waits.append)
    assert worker._fetch("s3://bucket/a.jpg") == b"image"
    assert waits == [0.5, 1, 2]
    answers += [OSError("busy")] * 4
    refused = error_of(UsageError, lambda: worker._fetch("s3://bucket/a.jpg"))
    assert refused.message == "s3://bucket/a.jpg cannot be reached: busy"
    assert worker._fetch("/photos/a.jpg") == "/photos/a.jpg"


def test_what_is_wrong_with_more_than_an_image_is_told(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"))
    other = build_bundle(tmp_path / "other.bundle", name="other")
    actor = ShardWorker(task, pack(Bundle.open(other), "onnx-fp32"))
    (told,) = actor({"shard": [0]})
    assert "the bundle has changed on its way to a worker" in told["report"][0]
    data = pack(Bundle.open(tiny), "onnx-fp32")
    for file, before, after in (("labels.txt", b"reddish", b"rEddish"), ("model.onnx", b"bias", b"bIas")):
        assert before in data
        (told,) = ShardWorker(task, data.replace(before, after))({"shard": [0]})
        assert f"{file} has changed since it was exported" in told["report"][0]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_stores, "write", full)
    problem = work(task, tiny, [0])[0]["problem"]
    assert problem["message"] == f"{task.output} cannot be written: No space left on device"


def test_a_worker_without_the_runtime_says_what_to_install(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"))
    monkeypatch.setattr(OnnxRuntime, "unavailable_reason", classmethod(lambda _: "it is not installed"))
    monkeypatch.setattr(OpenVino, "unavailable_reason", classmethod(lambda _: "it is not installed"))
    reports = work(task, tiny)
    assert len(reports) == 3
    error = from_dict(reports[0]["problem"])
    assert isinstance(error, MissingDependency)
    assert error.message.startswith("no runtime on this machine can run onnx-fp32: onnxruntime: it is not")
    assert error.hint == f"install one with: {install_line('cpu')}"
    assert reports[0]["machine"]


def test_a_signed_bundle_reaches_a_worker_that_asks_for_the_signature(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = shutil.copytree(tiny, tmp_path / "tiny.bundle")
    (signed / "README.md").write_text("No worker needs this, and the signature is of it as well.")
    keys = Keys(tmp_path)
    task = job_for(tiny, [str(photos)], str(tmp_path / "out"))
    monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(keys.public))
    data = pack(Bundle.open(tiny, check_signature=False), "onnx-fp32")
    (told,) = ShardWorker(task, data)({"shard": [0]})
    assert "is not signed, and PINNACE_TRUSTED_KEY is set" in told["report"][0]
    signing.sign(signed, "tiny", keys.own)
    (told,) = ShardWorker(task, pack(Bundle.open(signed), "onnx-fp32"))({"shard": [0]})
    assert json.loads(told["report"][0])["failed"] == 0
