"""A real cluster of three raylets: a driver is killed, a raylet is killed, and every image has its row.

`benchmarks/cluster_kills.py` does it ten times each, at random moments.
"""

from __future__ import annotations

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

# `pinnace` that waits for a machine less long. Not in the process of the tests: Ray may end the one it is in.
IMPATIENT = """\
from pinnace.cli.cluster import hand_out
from pinnace.cli.main import main
hand_out.STALLED = 3
main()
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
    again = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *line[3:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_parts(output, more, again)
        raylets.kill_one()
        out, err = again.communicate(timeout=SECONDS)
    finally:
        again.kill()
        again.wait()
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
