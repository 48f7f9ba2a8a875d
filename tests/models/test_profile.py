"""Profiles: written, read, and refused on another machine, for another bundle, or where they are damaged."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from pinnace.models import profile
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.profile import Configuration, Profile, ProfileFigures, this_machine
from pinnace.models.selection import select
from support.tiny_bundle import build_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A tiny bundle."""
    return Bundle.open(build_bundle(tmp_path / "tiny.bundle"))


def tuned(bundle: Bundle) -> Profile:
    """A profile that holds here."""
    return Profile(
        profile.SCHEMA_VERSION,
        bundle.version,
        this_machine("onnxruntime"),
        Configuration("onnx-fp32", "onnxruntime", threads=1, processes=2),
        "throughput",
        ProfileFigures(100.0, 12.5),
        "2026-11-26T00:00:00Z",
        "0.1.0",
    )


def test_a_profile_is_used_where_it_holds_and_said_in_one_line(bundle: Bundle) -> None:
    assert select(bundle).note is None
    written = tuned(bundle)
    profile.write(written, bundle.folder)
    assert profile.read(bundle.folder) == written
    chosen = select(bundle)
    assert (chosen.variant, chosen.runtime, chosen.profile) == ("onnx-fp32", "onnxruntime", written)
    assert chosen.note == (
        "tiny runs as tuned for this machine: onnx-fp32 in onnxruntime, 2 processes, 1 thread; --no-profile "
        "leaves that out"
    )
    assert Bundle.open(bundle.folder).version == bundle.version
    bundle.check_files()


def test_what_the_user_names_and_no_profile_leave_it_out(bundle: Bundle) -> None:
    profile.write(tuned(bundle), bundle.folder)
    assert select(bundle, use_profile=False).profile is None
    named = select(bundle, runtime="openvino")
    assert (named.variant, named.runtime, named.profile, named.note) == (None, "openvino", None, None)
    elsewhere = select(bundle, device="cuda")
    assert (elsewhere.profile, elsewhere.note) == (None, None)
    assert select(bundle, device="cpu").profile is not None
    for given in ({}, {"runtime": "openvino"}, {"use_profile": False}):
        assert select(bundle, device="auto", **given).device == "auto"
    assert select(bundle).device is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cpu": "Abacus"}, "it was made on another machine: Abacus, and this is "),
        ({"flags": ("abacus",)}, "with other instructions"),
        ({"gpu": "Abacus GPU"}, "it was made on another machine: "),
        ({"cpus": 999}, "it was made with 999 CPUs, and here there are "),
        ({"runtime": "0.1"}, "it was made with onnxruntime 0.1, and here is "),
    ],
)
def test_another_machine_is_refused_with_the_line_that_renews_it(
    bundle: Bundle, changes: dict[str, object], problem: str
) -> None:
    there = tuned(bundle)
    there = dataclasses.replace(there, machine=dataclasses.replace(there.machine, **changes))
    path = profile.write(there, bundle.folder)
    chosen = select(bundle)
    assert (chosen.variant, chosen.runtime, chosen.profile) == (None, None, None)
    assert chosen.note is not None
    assert chosen.note.startswith(f"{path} is not used: ")
    assert problem in chosen.note
    assert chosen.note.endswith(f"; renew it with: pinnace tune {bundle.folder}")


def test_another_bundle_and_a_damaged_file_are_refused(bundle: Bundle) -> None:
    path = profile.write(dataclasses.replace(tuned(bundle), bundle="0" * 12), bundle.folder)
    assert "it was made for another version of the bundle" in str(select(bundle).note)
    path.write_text("{")
    assert "is damaged" in str(select(bundle).note)
    data = json.loads(tuned(bundle).to_json())
    data["configuration"]["threads"] = 0
    path.write_text(json.dumps(data))
    assert "is damaged: configuration.threads" in str(select(bundle).note)
    data["schema_version"] = 99
    data["configuration"]["threads"] = 1
    path.write_text(json.dumps(data))
    assert "has another schema version" in str(select(bundle).note)


def test_a_copy_with_another_version_gets_a_profile_that_holds_for_it(bundle: Bundle, tmp_path: Path) -> None:
    profile.write(tuned(bundle), bundle.folder)
    copied = Bundle.open(build_bundle(tmp_path / "copy.bundle", created="2026-02-02T00:00:00Z"))
    assert copied.version != bundle.version
    profile.copy(bundle, copied)
    assert select(copied).profile == dataclasses.replace(tuned(bundle), bundle=copied.version)


def test_a_pipe_in_the_place_of_a_profile_is_not_waited_for(bundle: Bundle) -> None:
    os.mkfifo(bundle.folder / profile.FILE_NAME)
    assert select(bundle).profile is None
    (bundle.folder / profile.FILE_NAME).unlink()
    (bundle.folder / profile.FILE_NAME).symlink_to("/dev/zero")
    assert select(bundle).profile is None
