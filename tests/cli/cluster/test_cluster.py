"""A real cluster of three raylets: one is killed, a driver is killed, and the rows are those of a whole run.

`benchmarks/cluster_kills.py` does it ten times each, at random moments.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_kills import Raylets, command, rows, wait_for_parts
from PIL import Image

from support.tiny_bundle import build_bundle

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

IMAGES = 240
SHARD = 2


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


def test_rows_are_whole_though_a_raylet_and_a_driver_are_killed(
    pinnace, raylets: Raylets, given: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, photos = given
    monkeypatch.setattr("pinnace.cli.cluster.hand_out.STALLED", 5)
    output = tmp_path / "raylet"
    killer = threading.Thread(target=lambda: (wait_for_parts(output, 10), raylets.kill_one()))
    killer.start()
    line = command(bundle, photos, output, raylets.address, SHARD)
    outcome = pinnace(*line[3:])
    killer.join()
    assert outcome.status == 1, outcome.err  # for the one that is no image
    assert f"{IMAGES - 1} classified; 1 cannot be read; " in outcome.err
    expected = rows(output)
    assert [row["path"] for row in expected] == [str(photos / f"{n:03}.png") for n in range(IMAGES)]
    assert [row["path"] for row in expected if row["error"]] == [str(photos / "100.png")]

    output = tmp_path / "driver"
    line = command(bundle, photos, output, raylets.address, SHARD)
    driver = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_parts(output, 10, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = len(list(output.glob("part-*")))
    assert 10 <= done < IMAGES // SHARD
    outcome = pinnace(*line[3:])
    assert outcome.status == 1, outcome.err
    assert " of them by an earlier run; " in outcome.err
    assert rows(output) == expected
