"""`pinnace tune --device` against a real sshd."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from pinnace.latency.tuning import saved
from pinnace.models import profile
from pinnace.models.bundle import signing
from support.processes import interruptible
from support.signing_keys import Keys
from support.tiny_bundle import build_bundle

pytestmark = pytest.mark.slow

BRIEF = ("--runtime", "onnxruntime", "--no-confirm")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A bundle to write a profile into."""
    return build_bundle(tmp_path / "tiny.bundle")


def test_the_result_and_the_profile_come_back(pinnace, tiny: Path, device, tmp_path: Path) -> None:
    for label, colour in {"reddish": (230, 20, 20), "bluish": (20, 20, 230)}.items():
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(tmp_path / "images" / label / "one.jpg")
    here = ("--device", device.url, "--device-python", device.python)
    report, page = tmp_path / "t.json", tmp_path / "t.html"
    done = pinnace(
        *("tune", tiny, *BRIEF, "--budget", "3s", "--images", tmp_path / "images", *here, "--json"),
        *("--report", report, "--report", page),
    )
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["bundle"] == str(tiny)
    assert [(j["images"], j["labelled"]) for j in found["judgements"]] == [(2, True)]
    assert found["profile"] == str(tiny / "profile.127.0.0.1.json")
    made = profile.read_file(tiny / "profile.127.0.0.1.json")
    assert made.configuration.runtime == found["winner"]["runtime"] == "onnxruntime"
    # The device is this machine, so what was found there holds here.
    assert "runs as tuned" in pinnace("classify", "--bundle", tiny, tmp_path / "images/reddish/one.jpg").err
    assert f"pinnace serve {tiny} --variant onnx-fp32" in page.read_text()
    # What was read from JSON is written as the same JSON.
    assert json.loads(saved.parse(report.read_bytes(), "t").to_json()) == json.loads(report.read_bytes())
    assert device.runs == []
    assert len(list(device.cache.glob("pinnace/device/images/*/*/one.jpg"))) == 2


def test_the_copy_of_a_signed_bundle_stays_as_it_was_signed(
    pinnace, tiny: Path, device, tmp_path: Path
) -> None:
    signing.sign(tiny, "tiny", Keys(tmp_path).own)
    signed = [path.name for path in tiny.iterdir()]
    here = ("--device", device.url, "--device-python", device.python)
    done = pinnace("tune", tiny, *BRIEF, "--budget", "1s", *here)
    assert done.status == 0, done.err
    (copied,) = device.cache.glob("pinnace/device/bundles/*-signed")
    assert (tiny / "profile.127.0.0.1.json").is_file()
    assert sorted(path.name for path in copied.iterdir()) == sorted(signed)


def test_ctrl_c_fetches_what_is_known(pinnace, tiny: Path, device, tmp_path: Path) -> None:
    def interrupt() -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until:
            if any(b"leads" in path.read_bytes() for run in device.runs for path in run.glob("err")):
                break
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    with interruptible():
        thread = threading.Thread(target=interrupt)
        thread.start()
        done = pinnace(
            *("tune", tiny, *BRIEF, "--budget", "600s", "--progress", "--json"),
            *("--device", device.url, "--device-python", device.python),
        )
        thread.join()
    assert "is told to end; what it knows is fetched" in done.err
    found = json.loads(done.out)
    assert done.status == (130 if found["interrupted"] else 0)
    assert found["rounds"] >= 1
    assert (tiny / "profile.127.0.0.1.json").is_file()
    assert device.runs == []
