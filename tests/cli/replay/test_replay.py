"""`pinnace replay`: which answers another bundle or server would have given."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from support.command_line import CommandLine
from support.records import row, write_rows
from support.tiny_bundle import build_bundle, encode, logits_of

RED, GREEN, BLUE = (250, 10, 20), (10, 250, 20), (10, 20, 250)


def record(place: Path) -> None:
    """Red and blue as the tiny bundle answers, and green otherwise; one picture was not kept, one is none."""
    pictures = [encode(colour) for colour in (RED, GREEN, BLUE)]
    rows = [
        row(0, "reddish", score(RED, 0), pictures[0]),
        row(1, "dark", 0.6, pictures[1], ago=60),
        row(1, "bluish", 0.5, pictures[1]),
        row(2, "bluish", 0.5, pictures[2]),
        row(3, "bright", 0.5, b"not kept"),
        row(4, "bright", 0.5, b"no image"),
    ]
    images = {hashlib.sha256(data).hexdigest(): data for data in (*pictures, b"no image", b"no row")}
    write_rows(place, rows, images)


def score(colour: tuple[int, int, int], index: int) -> float:
    """The probability that the tiny bundle gives, by hand."""
    logits = logits_of(colour).astype(np.float64)
    return float(np.exp(logits[index]) / np.exp(logits).sum())


def test_another_bundle(pinnace: CommandLine, tmp_path: Path) -> None:
    record(tmp_path / "r")
    bundle, page = build_bundle(tmp_path / "tiny.bundle"), tmp_path / "replay.html"
    outcome = pinnace("replay", tmp_path / "r", "--bundle", bundle, "--report", page, "--json")
    assert outcome.status == 0
    found = outcome.json
    assert (found["pictures"], found["failed"], found["flipped"]) == (4, 1, 1)
    assert found["changes"] == [{"from": "bluish", "to": "greenish", "pictures": 1}]
    (flip,) = found["flips"]
    assert flip["sha256"] == hashlib.sha256(encode(GREEN)).hexdigest()
    assert flip["after"]["probability"] == pytest.approx(score(GREEN, 1), abs=1e-4)
    moved = (abs(score(GREEN, 2) - 0.5) + abs(score(BLUE, 2) - 0.5)) / 3
    assert found["mean_change"] == pytest.approx(moved, abs=1e-4)
    text = page.read_text()
    assert text.count("<img") == 1
    assert "1 of 3 pictures (33.3%) get another first class" in text
    shown = pinnace("replay", tmp_path / "r", "--bundle", bundle)
    assert shown.status == 0
    assert "bluish  greenish         1" in shown.out
    assert "1 pictures cannot be read there" in shown.err
    one = pinnace("replay", tmp_path / "r", "--bundle", bundle, "--limit", 1, "--json")
    assert one.json["pictures"] == 1


def test_what_cannot_be_replayed_is_said(pinnace: CommandLine, tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "tiny.bundle")
    write_rows(tmp_path / "rows", [row(0, "reddish", 0.5)])
    outcome = pinnace("replay", tmp_path / "rows", "--bundle", bundle)
    assert outcome.status == 2
    assert "has kept no pictures" in outcome.err
    assert "--record-images" in outcome.err
    assert "is not a record" in pinnace("replay", tmp_path / "none", "--bundle", bundle).err
    assert "neither a bundle nor a server is given" in pinnace("replay", tmp_path / "rows").err
    write_rows(tmp_path / "rows", [row(0, "reddish", 0.5, b"x", model="other")])
    assert "has answers of several models" in pinnace("replay", tmp_path / "rows", "--bundle", bundle).err
