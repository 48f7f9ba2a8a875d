"""`pinnace tune` from end to end, with a small bundle and real processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pinnace.cli.tune.judge import paired_loss
from pinnace.latency.device.energy import open_meter
from pinnace.latency.tuning import saved
from pinnace.latency.tuning.race import NOT_RUN
from pinnace.models import profile
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs
from pinnace.serving.inference.tuned import with_profile
from pinnace.serving.settings import load_settings
from support.command_line import PINNACE
from support.processes import interruptible
from support.tiny_bundle import build_bundle

pytestmark = pytest.mark.slow

COLOURS = {"reddish": (230, 20, 20), "greenish": (20, 230, 20), "bluish": (20, 20, 230)}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A tiny bundle."""
    return build_bundle(tmp_path / "tiny.bundle")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A folder for each of three classes."""
    for label, colour in COLOURS.items():
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(tmp_path / "images" / label / "one.jpg")
    return tmp_path / "images"


def test_the_winner_is_written_and_used(pinnace, bundle: Path, labelled: Path, tmp_path: Path) -> None:
    done = pinnace(
        *("tune", bundle, "--images", labelled, "--budget", "8s", "--no-confirm", "--json"),
        *("--runtime", "onnxruntime", "--report", tmp_path / "t.html", "--report", tmp_path / "t.json"),
    )
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["profile"] == str(bundle / "profile.json")
    assert [(j["lost"], j["images"], j["labelled"]) for j in found["judgements"]] == [(0.0, 3, True)]
    assert {row["processes"] for row in found["configurations"]} >= {1}
    # Every field of it has the type that a reader of it relies on.
    read = saved.parse(done.out.encode(), "--json")
    assert (read.bundle, read.winner) == (str(bundle), read.race.runners[0].configuration)
    assert found["winner"]["command"] == read.race.runners[0].configuration.command(bundle)
    written = profile.read(bundle)
    assert written is not None
    assert written.configuration.runtime == found["winner"]["runtime"] == "onnxruntime"
    with_samples = json.loads((tmp_path / "t.json").read_text())
    ran = [row for row in with_samples["configurations"] if row["reason"] != NOT_RUN]
    assert ran
    assert all(row["trials"][0]["calls_ms"] for row in ran)
    page = (tmp_path / "t.html").read_text()
    assert "tiny, tuned for" in page
    assert f"pinnace serve {bundle} --variant onnx-fp32 --runtime onnxruntime" in page
    settings, sentences = with_profile(load_settings(bundle=(bundle,), threads=3))
    assert settings.threads == 3
    assert settings.workers == written.configuration.processes
    assert (settings.runtime, settings.profile) == ("onnxruntime", False)
    assert len(sentences) == 1
    image = labelled / "reddish" / "one.jpg"
    assert "runs as tuned for this machine" in pinnace("classify", "--bundle", bundle, image).err
    assert "tuned" not in pinnace("classify", "--bundle", bundle, image, "--no-profile").err
    judged = pinnace("eval", bundle, "--images", labelled, "--json")
    assert "runs as tuned for this machine" in judged.err
    assert "tuned" not in pinnace("eval", bundle, "--images", labelled, "--no-profile").err


def test_where_nothing_is_allowed_one_sentence_and_exit_1(pinnace, bundle: Path) -> None:
    done = pinnace(
        *("tune", bundle, "--max-p99", "0.001", "--budget", "5s", "--no-confirm", "--runtime", "onnxruntime")
    )
    assert done.status == 1
    assert done.err.startswith("error: no configuration is left in the race: the median of its calls is")
    assert not (bundle / "profile.json").exists()


def test_ctrl_c_keeps_what_is_known(bundle: Path, tmp_path: Path) -> None:
    report = tmp_path / "t.json"
    arguments = ["--budget", "600s", "--no-confirm", "--progress", "--report", str(report)]
    command = [*PINNACE, "tune", str(bundle), *arguments, "--seed", "7"]
    with interruptible():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "leads" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    found = json.loads(report.read_text())
    assert process.returncode == (130 if found["interrupted"] else 0)
    assert found["rounds"] >= 1
    assert (bundle / "profile.json").exists()
    assert "pinnace serve" in out


CONFIRM = """
import sys, time
from pathlib import Path
from pinnace.cli.tune.server import serving
from pinnace.models.profile import Configuration
with serving(Path(sys.argv[1]), Configuration("onnx-fp32", "onnxruntime")) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def test_a_server_of_a_finalist_ends_with_a_tune_that_is_killed(bundle: Path) -> None:
    command = [sys.executable, "-c", CONFIRM, str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        family = []
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http://127.0.0.1:")
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) >= 2  # the server and its worker
            process.kill()
            assert psutil.wait_procs(family, timeout=20)[1] == []
        finally:
            process.kill()
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "soon"], "error: --budget is not a time"),
        (["--report", "t.txt"], "error: t.txt does not have the suffix of a report of pinnace tune"),
        (["--runtime", "abacus"], "error: there is no runtime abacus"),
    ],
)
def test_wrong_usage(pinnace, bundle: Path, arguments: list[str], message: str) -> None:
    done = pinnace("tune", bundle, *arguments)
    assert done.status == 2
    assert done.err.startswith(message)


def test_a_network_that_embeds_uses_a_profile_and_is_tuned_without_images(
    pinnace, bundle: Path, labelled: Path
) -> None:
    opened = Bundle.open(bundle)
    manifest = dataclasses.replace(opened.manifest, labels=None, outputs=Outputs("embedding", "logits"))
    (bundle / "manifest.json").write_bytes(manifest.to_json())
    refused = pinnace("tune", bundle, "--images", labelled)
    assert refused.status == 2
    assert "nothing says how exact a vector has to be" in refused.err
    done = pinnace("tune", bundle, "--runtime", "onnxruntime", "--budget", "2s", "--no-confirm")
    assert done.status == 0, done.err
    embed = ("embed", "--bundle", bundle, labelled / "reddish" / "one.jpg")
    used = pinnace(*embed)
    assert used.status == 0, used.err
    assert "runs as tuned for this machine: onnx-fp32 in onnxruntime" in used.err
    assert "tuned" not in pinnace(*embed, "--no-profile").err


def test_energy_is_refused_where_nothing_says_what_the_machine_draws(pinnace, bundle: Path) -> None:
    if open_meter() is not None:
        pytest.skip("this machine says what it draws")
    done = pinnace("tune", bundle, "--objective", "energy")
    assert done.status == 2
    assert done.err.startswith("error: no sensor of this machine says how much power it draws")
    assert "choose --objective throughput or latency" in done.err
    assert not (bundle / "profile.json").exists()


def test_points_lost_on_the_same_images() -> None:
    lost, (low, high) = paired_loss(worse=6, better=2, images=98)
    assert lost == pytest.approx(100 * 4 / 98)
    # Agresti and Min by hand: 4 / 100 +- 1.96 sqrt(9 - 16 / 100) / 100.
    assert (low, high) == pytest.approx((4 - 1.959964 * 8.84**0.5, 4 + 1.959964 * 8.84**0.5), abs=1e-4)
