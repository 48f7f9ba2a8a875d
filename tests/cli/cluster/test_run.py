"""The driver of a run, with actors in this process: what it hands out, counts, refuses and says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from PIL import Image

from pinnace.cli.cluster.driver import Driver
from pinnace.cli.cluster.hand_out import SmallerCluster
from pinnace.cli.cluster.worker import ShardWorker
from pinnace.models import file_stores
from pinnace.models.bundle.bundle import Bundle
from support.tiny_bundle import build_bundle

IMAGES, BROKEN, SHARD = 30, 7, 4
SHARDS = 8

Report = dict[str, Any]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (9, 9), (8 * number, 250 - 8 * number, 90)).save(folder / f"{number:02}.png")
    (folder / f"{BROKEN:02}.png").write_text("no image")
    return folder


class Actors:
    """In the place of a cluster; the last shard is done first.

    Attributes:
        handed_out: the shards of each time that some were handed out.
        after: called with each report before it is told.
    """

    def __init__(self) -> None:
        self.handed_out: list[list[int]] = []
        self.after: Callable[[Report], None] = lambda _: None

    def reports(self, driver: Driver) -> Iterator[Report]:
        work = driver.work
        self.handed_out.append(list(work.shards))
        worker = ShardWorker(work.task, work.bundle)
        for shard in reversed(work.shards):
            for told in worker({"shard": [shard]}):
                report = json.loads(told["report"][0])
                self.after(report)
                yield report
                yield report  # a shard of a machine that was lost may be done twice


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> Actors:
    made = Actors()
    monkeypatch.setattr(Driver, "reports", lambda driver: made.reports(driver))
    return made


@pytest.fixture
def classify(pinnace: Any, tmp_path: Path, photos: Path) -> Callable[..., Any]:
    """`pinnace classify` of the pictures on a cluster."""
    bundle = build_bundle(tmp_path / "tiny.bundle")
    given = ("--bundle", bundle, "-o", tmp_path / "out", "--ray", "10.0.0.5:6379", "--shard-size", SHARD)
    return lambda *more: pinnace("classify", photos, *given, *more)


def rows(output: Path) -> list[Report]:
    found: list[Report] = pyarrow.parquet.read_table(output).to_pylist()
    return found


def test_every_image_is_counted_once_and_again_when_a_run_is_continued(
    classify: Callable[..., Any], actors: Actors, photos: Path, tmp_path: Path
) -> None:
    done = classify("--top-k", 1)
    assert done.status == 1, done.err  # for the one that is no image
    assert f"{IMAGES - 1} classified; 1 cannot be read; " in done.err
    assert done.out == ""
    assert [row["path"] for row in rows(tmp_path / "out")] == [str(p) for p in sorted(photos.iterdir())]
    assert {len(row["predictions"] or ()) for row in rows(tmp_path / "out")} == {0, 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_job.json",
        "_list",
        *(f"part-{number:07}.parquet" for number in range(SHARDS)),
    ]
    (tmp_path / "out" / "part-0000003.parquet").unlink()
    again = classify("--top-k", 1)
    assert again.status == 1
    assert (
        f"{IMAGES - 1} classified; 1 cannot be read; {IMAGES - SHARD} of them by an earlier run; "
        in again.err
    )
    refused = classify()
    assert refused.status == 2
    assert f"{tmp_path}/out was begun with another top k" in refused.err


def test_what_a_smaller_cluster_has_left_is_handed_out_anew(
    classify: Callable[..., Any], actors: Actors
) -> None:
    def lose_a_machine(report: Report) -> None:
        if len(actors.handed_out) == 1 and report["shard"] == 5:
            raise SmallerCluster

    actors.after = lose_a_machine
    done = classify()
    assert done.status == 1, done.err
    assert actors.handed_out == [list(range(SHARDS)), list(range(6))]
    # The part of the fifth was there, and nobody had been told.
    assert f"{IMAGES - 1} classified; 1 cannot be read; {SHARD} of them by an earlier run; " in done.err


def test_the_first_problem_with_more_than_an_image_ends_the_run(
    classify: Callable[..., Any], actors: Actors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = file_stores.write

    def fills_up(folder: str, name: str, data: bytes) -> None:
        if name == "part-0000005.parquet":
            raise OSError(28, "No space left on device")
        write(folder, name, data)

    monkeypatch.setattr(file_stores, "write", fills_up)
    done = classify()
    assert done.status == 2
    done_images = IMAGES - 6 * SHARD
    assert f"stopped: {done_images} of {IMAGES} images are done; run the same command to continue" in done.err
    assert f"error: {tmp_path}/out cannot be written: No space left on device (on " in done.err
    monkeypatch.setattr(file_stores, "write", write)
    assert f"; {done_images} of them by an earlier run; " in classify().err


def test_ctrl_c_leaves_whole_parts(classify: Callable[..., Any], actors: Actors, tmp_path: Path) -> None:
    def interrupt(report: Report) -> None:
        if report["shard"] == 4:
            raise KeyboardInterrupt

    actors.after = interrupt
    done = classify()
    assert done.status == 130
    assert f"interrupted: {IMAGES - 5 * SHARD} of {IMAGES} images are done" in done.err
    assert sum(len(rows(path)) for path in (tmp_path / "out").glob("part-*")) == IMAGES - 4 * SHARD


def test_a_bundle_is_opened_once_before_any_kind_of_run(
    classify: Callable[..., Any],
    actors: Actors,
    pinnace: Any,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []
    open_bundle = Bundle.open

    def counted(folder: Path, **options: Any) -> Bundle:
        opened.append(folder)
        return open_bundle(folder, **options)

    monkeypatch.setattr(Bundle, "open", counted)
    bundle = tmp_path / "tiny.bundle"
    assert classify().status == 1
    assert opened.pop(0) == bundle
    assert len(opened) == 1  # the actor's
    opened.clear()
    assert pinnace("classify", photos, "--bundle", bundle, "-o", tmp_path / "rows.csv").status == 1
    assert opened == [bundle]
