"""`pinnace drift`: what it prints, writes and exits with, and the reference of a bundle."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from pinnace.cli.drift.moments import parse_moment
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.transfer import push
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.files import sha256
from pinnace.models.records import reference
from pinnace.models.records.observations import Observations
from support.command_line import CommandLine
from support.errors import refusal
from support.records import draw, write_record
from support.s3 import s3_server
from support.tiny_bundle import build_bundle

DAY = 86_400


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    write_record(folder / "before", draw(600, 1))
    write_record(folder / "same", draw(500, 2))
    write_record(folder / "night", draw(500, 3, shift="light"))
    return folder


def with_reference(folder: Path, drawn: Observations) -> Path:
    """A bundle that keeps a reference, as an export with photographs writes it."""
    bundle = build_bundle(folder)
    reference.write(bundle, drawn)
    manifest = Bundle.open(bundle).manifest
    files = {**manifest.files, reference.FILE: sha256(bundle / reference.FILE)}
    (bundle / "manifest.json").write_bytes(dataclasses.replace(manifest, files=files).to_json())
    return bundle


def test_the_exit_status_says_whether_there_is_drift(
    pinnace: CommandLine, shelf: Path, tmp_path: Path
) -> None:
    same = pinnace("drift", shelf / "same", "--against", shelf / "before", "--json")
    assert (same.status, same.json["drift"]) == (0, False)
    page = tmp_path / "drift.html"
    found = pinnace("drift", shelf / "night", "--against", shelf / "before", "--report", page)
    assert found.status == 1
    assert "mean brightness, 0 to 255      drift" in found.out
    assert found.out.count("no drift") == 4
    assert found.err.startswith(
        "error: 1 of 5 features has drifted\n  expected: a stability index of at most 0.1 of brightness\n"
    )
    text = page.read_text()
    assert text.count("<svg") == text.count("</svg>")
    assert "<script" not in text
    assert "Mean brightness, 0 to 255" in text
    lenient = pinnace(
        "drift", shelf / "night", "--against", shelf / "before", "--threshold", "brightness=5", "--json"
    )
    assert lenient.status == 0
    features = {each["name"]: each for each in lenient.json["features"]}
    assert features["brightness"]["threshold"] == 5
    assert features["size"]["threshold"] == 0.1
    assert sum(one["record"] for one in features["classes"]["bins"]) == pytest.approx(1)


def test_the_last_day_is_compared_with_what_was_before(pinnace: CommandLine, tmp_path: Path) -> None:
    write_record(tmp_path / "r", draw(400, 5), ago=3 * DAY)
    write_record(tmp_path / "r", draw(500, 6, shift="camera"))
    outcome = pinnace("drift", tmp_path / "r", "--since", "24h", "--against", tmp_path / "r", "--json")
    assert outcome.status == 1
    assert [outcome.json[side]["answers"] for side in ("reference", "record")] == [400, 500]
    drifted = {each["name"] for each in outcome.json["features"] if each["verdict"] == "drift"}
    assert drifted == {"size", "bytes"}
    empty = pinnace("drift", tmp_path / "r", "--since", "2100-01-01", "--against", tmp_path / "r")
    assert empty.status == 2
    assert "has no answers from 2100-01-01T00:00:00+00:00 on" in empty.err


def test_a_bundle_is_a_reference_where_it_keeps_one(
    pinnace: CommandLine, shelf: Path, tmp_path: Path
) -> None:
    bundle = with_reference(tmp_path / "a.bundle", draw(300, 7))
    Bundle.open(bundle).check_files()
    assert pinnace("drift", shelf / "same", "--against", bundle).status == 0
    assert pinnace("drift", shelf / "night", "--against", bundle).status == 1
    old = build_bundle(tmp_path / "old.bundle")
    outcome = pinnace("drift", shelf / "same", "--against", old)
    assert outcome.status == 2
    assert "keeps no reference: it was exported without photographs" in outcome.err
    (bundle / reference.FILE).write_bytes(b"changed")
    outcome = pinnace("drift", shelf / "same", "--against", bundle)
    assert outcome.status == 1
    assert "has changed since it was exported" in outcome.err
    odd = with_reference(tmp_path / "odd.bundle", dataclasses.replace(draw(5, 1), width=draw(4, 1).width))
    assert "has not one row for each photograph" in refusal(BundleError, reference.read, Bundle.open(odd))


def test_a_store_is_read_as_a_folder_is(
    pinnace: CommandLine, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINNACE_CACHE", str(tmp_path / "cache"))
    with s3_server():
        write_record("s3://bucket/r", draw(300, 8))
        assert pinnace("drift", "s3://bucket/r", "--against", shelf / "before").status == 0
        assert pinnace("drift", "s3://bucket/none", "--against", shelf / "before").status == 2
        push(Bundle.open(with_reference(tmp_path / "a.bundle", draw(300, 7))), "s3://bucket/a.bundle")
        assert pinnace("drift", "s3://bucket/r", "--against", "s3://bucket/a.bundle").status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--against", "before"), "nowhere is not a record"),
        (("same", "--against", "same"), "the record is compared with itself"),
        (("same", "--against", "before", "--threshold", "colour=1"), "that is no threshold"),
        (("same", "--against", "before", "--threshold", "nan"), "that is no threshold"),
        (("same", "--against", "before", "--since", "monday"), "that is no moment"),
        (
            ("same", "--against", "before", "--report", "drift.pdf"),
            "drift.pdf does not have the suffix of a page",
        ),
        (("same", "--against", "before", "--model", "other"), "has no answers of other"),
        (("several", "--against", "before"), "has answers of several models"),
        (("damaged", "--against", "before"), "cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_said(
    pinnace: CommandLine, shelf: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(shelf)
    if "several" in arguments and not Path("several").exists():
        for model in ("a", "b"):
            write_record("several", draw(10, 1), model=model)
    if "damaged" in arguments:
        write_record("damaged", draw(10, 1))
        (part,) = Path("damaged/rows").iterdir()
        part.write_bytes(part.read_bytes()[:-100])
    outcome = pinnace("drift", *arguments)
    assert outcome.status == 2
    assert said in outcome.err


def test_few_answers_are_told(pinnace: CommandLine, shelf: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "few", draw(40, 9))
    outcome = pinnace("drift", tmp_path / "few", "--against", shelf / "before")
    assert outcome.status == 0
    assert "has 40 answers; with fewer than 100, only a large drift is seen" in outcome.err


def test_moments() -> None:
    for typed, seconds in (("30m", 1800), ("24h", DAY), ("1.5d", 1.5 * DAY), ("2w", 14 * DAY)):
        assert parse_moment(typed) == pytest.approx(time.time() - seconds, abs=5)
    assert parse_moment("2026-11-27") == parse_moment("2026-11-27T01:00:00+01:00") == 1795737600
    refusal(UsageError, parse_moment, "24")
