"""A real cluster of three raylets: a driver, a raylet, the head are killed, and every image has its row.

`benchmarks/cluster_kills.py` does it ten times each, at random moments.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_kills import SECONDS, Raylets, command, rows, wait_for_parts
from PIL import Image

from support.tiny_bundle import build_bundle

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

IMAGES = 240
SHARD = 2
PARTS = IMAGES // SHARD

# `pinnace` that waits for a machine less long.
IMPATIENT = """\
from pinnace.cli.cluster import hand_out
from pinnace.cli.main import main
hand_out.STALLED = 3
hand_out.FULL = 8
main()
"""

# Another job, which holds every CPU until its standard input ends.
OTHER = """\
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
class Holder:
    def holds(self):
        return True

holders = [Holder.remote() for _ in range(2)]
ray.get([holder.holds.remote() for holder in holders])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    cluster = Raylets()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and a folder of small pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("raylets")
    (folder / "photos").mkdir()
    for number in range(IMAGES):
        colour = (number, 255 - number, (7 * number) % 256)
        Image.new("RGB", (9, 9), colour).save(folder / "photos" / f"{number:03}.png")
    (folder / "photos" / "100.png").write_text("no image")
    return build_bundle(folder / "tiny.bundle"), folder / "photos"


@contextlib.contextmanager
def started(line: list[str]) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def test_rows_are_whole_though_a_driver_and_a_raylet_are_killed(
    pinnace, raylets: Raylets, given: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, photos = given
    output = tmp_path / "answers"
    line = command(bundle, photos, output, raylets.address, SHARD)
    driver = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = wait_for_parts(output, 10, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert 10 <= done < PARTS

    more = len(list(output.glob("part-*"))) + 10
    with started([sys.executable, "-c", IMPATIENT, *line[3:]]) as again:
        wait_for_parts(output, more, again)
        raylets.kill_one()
        out, err = again.communicate(timeout=SECONDS)
    assert again.returncode == 1, err  # for the one that is no image
    assert f"{IMAGES - 1} classified; 1 cannot be read; " in err
    assert " of them by an earlier run; " in err
    assert out == ""

    plain = tmp_path / "plain.jsonl"
    assert pinnace("classify", photos, "--bundle", bundle, "-o", plain).status == 1
    expected = [json.loads(text) for text in plain.read_text().splitlines()]
    found = rows(output)
    assert [row["path"] for row in found] == [row["image"] for row in expected]
    for row, alone in zip(found, expected, strict=True):
        assert (row["error"] is None) == ("error" not in alone)
        labels = [one["label"] for one in row["predictions"] or ()]
        assert labels == [one["label"] for one in alone.get("predictions", ())]


def test_a_cluster_that_is_full_or_lost_ends_a_run_with_a_sentence(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, photos = given
    output = tmp_path / "answers"
    raylets = Raylets()
    try:
        line = command(bundle, photos, output, raylets.address, SHARD)
        impatient = [sys.executable, "-c", IMPATIENT, *line[3:]]
        with started([sys.executable, "-c", OTHER, raylets.address]) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with started(impatient) as full:
                _, err = full.communicate(timeout=SECONDS)
            assert full.returncode == 2, err
            assert "error: no machine of the cluster had a place for a worker for 8 seconds" in err
            assert list(output.glob("part-*")) == []
            other.communicate()

        with started(line) as run:
            wait_for_parts(output, 3, run)
            raylets.lose_the_head()
            _, err = run.communicate(timeout=SECONDS)
        assert run.returncode == 2, err
        assert "error: the connection to the Ray cluster was lost" in err
        assert "run the same command again to continue" in err
    finally:
        raylets.stop()

    there = len(list(output.glob("part-*")))
    assert 3 <= there < PARTS
    line[line.index("--ray") + 1] = "local"
    with started(line) as again:
        _, err = again.communicate(timeout=SECONDS)
    assert again.returncode == 1, err
    assert f"{IMAGES - 1} classified; 1 cannot be read; " in err
    assert sorted(row["path"] for row in rows(output)) == sorted(map(str, photos.iterdir()))
