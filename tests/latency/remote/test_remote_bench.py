"""`pinnace bench --device` against a real sshd."""

from __future__ import annotations

import getpass
import os
import signal
import threading
import time
from pathlib import Path

import onnxruntime
import pytest

from pinnace.latency import report
from pinnace.latency.remote import run as remote
from pinnace.latency.remote.ssh import Address
from pinnace.models.bundle import signing
from pinnace.models.errors import UsageError
from support.signing_keys import Keys
from support.tiny_bundle import build_bundle

pytestmark = pytest.mark.slow

BRIEF = ("--duration", "0.2", "--min-queries", "5", "--rounds", "1", "--variant", "onnx-fp32")


def test_the_bundle_goes_there_and_the_report_comes_back(
    pinnace, bundle: Path, device, tmp_path: Path
) -> None:
    out = tmp_path / "r.json"
    done = pinnace(
        "bench", bundle, *BRIEF, "--device", device.url, "--device-python", device.python, "--report", out
    )
    assert done.status == 0, done.err
    made = report.read(out)
    assert made.settings.via is not None
    assert made.settings.via.endswith("@127.0.0.1")
    assert made.settings.target == str(bundle)
    assert len(made.results[0].latencies.latency_ms) == made.results[0].samples
    assert device.runs == []
    (copied,) = device.cache.glob("pinnace/device/bundles/*")
    names = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
    assert names == {"manifest.json", "onnx-fp32.onnx", "golden/golden.npz"}


def test_a_signed_bundle_goes_there_whole_with_its_newest_signature(
    pinnace, device, tmp_path: Path, monkeypatch
) -> None:
    signed, keys = build_bundle(tmp_path / "tiny.bundle"), Keys(tmp_path)
    (signed / "README.md").write_text("The bench does not need this, and the signature is of it as well.")
    trusting = tmp_path / "python"
    for private, public in ((keys.own, keys.public), (keys.other, keys.other_public)):
        signing.sign(signed, "tiny", private)
        trusting.write_text(f'#!/bin/sh\nPINNACE_TRUSTED_KEY={public} exec {device.python} "$@"\n')
        trusting.chmod(0o755)
        monkeypatch.setenv("PINNACE_TRUSTED_KEY", str(public))
        done = pinnace("bench", signed, *BRIEF, "--device", device.url, "--device-python", trusting)
        assert done.status == 0, done.err


def cut_when_waiting(monkeypatch, device) -> None:
    """Kill the first connection over which a bench that runs there is waited for."""
    waited = remote._wait

    def cut(before: set[int]) -> None:
        end = time.monotonic() + 20
        while not (begun := set(device.connections()) - before) and time.monotonic() < end:
            time.sleep(0.02)
        for connection in begun:
            os.kill(connection, signal.SIGKILL)

    def wait(*arguments, **options) -> int:
        monkeypatch.setattr(remote, "_wait", waited)
        # Those of the commands before may still be about to end.
        thread = threading.Thread(target=cut, args=(set(device.connections()),))
        thread.start()
        try:
            return waited(*arguments, **options)
        finally:
            thread.join()

    monkeypatch.setattr(remote, "_wait", wait)


def test_a_lost_connection_is_taken_up_again(pinnace, bundle: Path, device, monkeypatch) -> None:
    monkeypatch.setattr(remote, "RETRIES_S", (0.1,) * 8)
    cut_when_waiting(monkeypatch, device)
    done = pinnace("bench", bundle, *BRIEF, "--device", device.url, "--device-python", device.python)
    assert done.status == 0, done.err
    assert "was lost; the bench goes on there; trying again" in done.err
    assert "onnx-fp32" in done.out


def test_a_second_call_fetches_what_the_first_had_to_leave(
    pinnace, bundle: Path, device, monkeypatch
) -> None:
    monkeypatch.setattr(remote, "RETRIES_S", ())
    cut_when_waiting(monkeypatch, device)
    command = ("bench", bundle, *BRIEF, "--device", device.url, "--device-python", device.python)
    first = pinnace(*command)
    assert first.status == 2, first.err
    assert "is lost and cannot be restored; the bench goes on there" in first.err
    assert "run the same command later to fetch its report" in first.err
    second = pinnace(*command, "--json")
    assert second.status == 0, second.err
    assert [caveat["code"] for caveat in second.json["warnings"]].count("connection") == 1
    assert second.json["results"][0]["samples"] >= 5
    assert device.runs == []


def test_what_was_cut_off_there_is_said(pinnace, bundle: Path, device) -> None:
    command = ("bench", bundle, "--seed", "7", *BRIEF, "--device", device.url)
    command += ("--device-python", device.python)

    def kill() -> None:
        until = time.monotonic() + 60
        while not any((run / "pid").exists() for run in device.runs) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        for run in device.runs:
            os.killpg(int((run / "pid").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    first = pinnace(*command)
    thread.join()
    assert first.status == 2
    assert "was cut off before it ended" in first.err
    second = pinnace(*command)
    assert second.status == 0
    assert "its results are lost; running it again" in second.err


def test_what_is_wrong_there_is_a_sentence(pinnace, bundle: Path, device) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("asks for CUDA where there must be none")
    here = ("--device", device.url, "--device-python")
    none = pinnace("bench", bundle, *BRIEF, *here, "/no/python")
    assert none.status == 3
    assert "/no/python has no pinnace" in none.err
    wrong = pinnace("bench", bundle, *BRIEF, "--provider", "cuda", *here, device.python)
    assert wrong.status == 2
    assert f"error: on {getpass.getuser()}@127.0.0.1: this onnxruntime has no CUDA" in wrong.err
    assert "\n  help: on the device: " in wrong.err
    assert "pip install" in wrong.err
    assert device.runs == []


def test_nobody_there_is_a_sentence(pinnace, bundle: Path, nobody: str) -> None:
    done = pinnace("bench", bundle, *BRIEF, "--device", nobody.replace("http://", "ssh://"))
    assert done.status == 2
    assert "no connection to 127.0.0.1" in done.err


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://orin", Address("orin")),
        ("ssh://me@10.0.0.7:2222", Address("10.0.0.7", "me", 2222)),
        ("ssh://me@[fe80::1]:22", Address("fe80::1", "me", 22)),
        ("ssh://Orin.local", Address("Orin.local")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "orin",
        "http://orin",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://me:secret@h",
        "ssh://h/p",
        "ssh://h:x",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a device"):
        Address.parse(text)
