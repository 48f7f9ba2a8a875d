"""`pinnace classify` with folders of images: rows, resuming, interruption, and servers that fail."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from support.command_line import PINNACE
from support.processes import interruptible

pytestmark = pytest.mark.slow

IMAGES = 300


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 small pictures in ten subfolders; read only."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    for number in range(IMAGES):
        path = folder / f"s{number % 10}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple((number * factor) % 256 for factor in (37, 101, 53))
        Image.new("RGB", (24, 18), colour).save(path)
    return folder


@pytest.fixture
def few(photos: Path, tmp_path: Path) -> Path:
    """Thirty of them, a picture that is none, an empty one, and a text."""
    folder = tmp_path / "few"
    shutil.copytree(photos / "s0", folder)
    (folder / "broken.jpg").write_text("no image")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not tried")
    return folder


@pytest.fixture(params=["bundle", "url"])
def where(request: pytest.FixtureRequest) -> list[object]:
    """Ask the bundle, or the server of it."""
    if request.param == "bundle":
        return ["--bundle", request.getfixturevalue("bundle")]
    return ["--url", request.getfixturevalue("server").url]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_image_has_its_row_in_order(pinnace, where, bundle, photos, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    outcome = pinnace("classify", photos, *where, "-o", out, "--top-k", 2)
    assert outcome.status == 0, outcome.err
    assert outcome.out == ""
    rows = rows_of(out)
    assert [row["image"] for row in rows] == sorted(map(str, photos.rglob("*.png")))
    with Classifier(Bundle.open(bundle)) as classifier:
        for row in rows[::29]:
            expected = classifier.classify(row["image"], 2)
            assert [p["label"] for p in row["predictions"]] == [p.label for p in expected.predictions]
            assert row["predictions"][0]["probability"] == pytest.approx(
                expected.predictions[0].probability, abs=1e-5
            )
    assert outcome.err.startswith("300 classified; ")
    counts = {row["predictions"][0]["label"] for row in rows}
    for label in counts:
        count = sum(row["predictions"][0]["label"] == label for row in rows)
        assert any(
            line.split()[0] == str(count) and line.split()[-1] == label
            for line in outcome.err.splitlines()[1:]
        )


def test_what_cannot_be_read_has_a_row_too_and_the_status_is_1(pinnace, where, few, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    outcome = pinnace("classify", few, *where, "-o", out)
    assert outcome.status == 1
    rows = {Path(row["image"]).name: row for row in rows_of(out)}
    assert len(rows) == 32
    assert rows["broken.jpg"]["error"]["code"] == "unsupported_image_type"
    assert rows["empty.png"]["error"]["code"] == "undecodable_image"
    assert "notes.txt" not in rows
    first, *lines = outcome.err.splitlines()
    assert first == "files skipped, because they are hidden or not named like an image: 1"
    assert f"error: {few}/broken.jpg: the bytes are not of an accepted image type" in lines
    assert f"error: {few}/empty.png: the image is empty" in lines
    assert lines[2].startswith("30 classified; 2 cannot be read; ")
    # A second run has nothing to ask, and still says that not all is well.
    before = out.read_bytes()
    again = pinnace("classify", few, *where, "-o", out, "--resume")
    assert again.status == 1
    assert out.read_bytes() == before
    assert "30 classified; 2 cannot be read; 32 of them by an earlier run; nothing to do, " in again.err


def test_rows_on_standard_output(pinnace, where, few) -> None:
    (few / "broken.jpg").unlink()
    (few / "empty.png").unlink()
    outcome = pinnace("classify", few, *where, "--no-progress")
    assert outcome.status == 0
    assert len([json.loads(line) for line in outcome.out.splitlines()]) == 30
    table = pinnace("classify", few, *where, "--format", "csv", "--top-k", 1)
    rows = list(csv.DictReader(io.StringIO(table.out)))
    assert len(rows) == 30
    assert list(rows[0]) == [
        "image", "model", "variant", "runtime", "total_ms",
        "label_1", "index_1", "probability_1", "error_code", "error_message",
    ]  # fmt: skip
    assert [row["label_1"] for row in rows] == [
        json.loads(line)["predictions"][0]["label"] for line in outcome.out.splitlines()
    ]


def test_json_is_one_list_also_for_a_folder(pinnace, where, few) -> None:
    outcome = pinnace("classify", few, *where, "--json")
    assert outcome.status == 1
    assert len(outcome.json) == 32
    assert [row["image"] for row in outcome.json if "error" in row] == [
        f"{few}/broken.jpg",
        f"{few}/empty.png",
    ]
    assert outcome.err == ""


def test_a_row_that_was_cut_off_is_written_again(pinnace, where, photos, tmp_path) -> None:
    for name in ("rows.jsonl", "rows.csv"):
        out = tmp_path / name
        assert pinnace("classify", photos / "s1", *where, "-o", out).status == 0
        whole = out.read_bytes()
        out.write_bytes(whole[: len(whole) * 2 // 3])
        outcome = pinnace("classify", photos / "s1", *where, "-o", out, "--resume")
        assert outcome.status == 0
        assert "30 classified; " in outcome.err
        assert " of them by an earlier run; " in outcome.err
        images = [line.split(b",")[0] for line in out.read_bytes().splitlines()]
        assert images == [line.split(b",")[0] for line in whole.splitlines()]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on(pinnace, where, photos, tmp_path, sign) -> None:
    out = tmp_path / "rows.jsonl"
    command = [*PINNACE, "classify", photos, *where, "-o", out, "--progress", "--concurrency", "1"]
    with interruptible():
        process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < 20):
        time.sleep(0.001)
    os.kill(process.pid, sign)
    _, err = process.communicate(timeout=30)
    done = out.read_bytes().count(b"\n")
    assert 20 <= done < IMAGES, "it was over before it was interrupted"
    if sign == signal.SIGINT:
        assert process.returncode == 130
        # The signal may come between the writing of a row and the counting of it.
        assert err.splitlines()[-1] in [
            f"interrupted: {count} of 300 images are done; "
            f"run the same command with --resume to continue {out}"
            for count in (done - 1, done)
        ]
        assert "Traceback" not in err
    outcome = pinnace("classify", photos, *where, "-o", out, "--resume")
    assert outcome.status == 0, outcome.err
    assert outcome.err.startswith(f"300 classified; {done} of them by an earlier run; ")
    assert [row["image"] for row in rows_of(out)] == sorted(map(str, photos.rglob("*.png")))


def test_rows_of_another_model_are_not_mixed(pinnace, bundle, stub, photos, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    one, two = photos / "s0" / "0000.png", photos / "s0" / "0010.png"
    assert pinnace("classify", one, "--bundle", bundle, "-o", out).status == 0
    before = out.read_bytes()
    outcome = pinnace("classify", one, two, "--url", stub.url, "-o", out, "--resume")
    assert outcome.status == 2
    assert outcome.err == (
        f"stopped: 1 of 2 images are done; run the same command with --resume to continue {out}\n"
        "error: the rows in the file come from another model\n"
        "  expected: colours onnx-fp32\n"
        "  got: stub onnx-fp32\n"
        "  help: choose another file\n"
    )
    assert out.read_bytes() == before


def test_an_image_without_an_answer_is_asked_for_again_next_time(pinnace, stub, photos, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    stub.plan(stub.refuse(504, "timeout", "late"))
    outcome = pinnace("classify", photos / "s2", "--url", stub.url, "-o", out, "--concurrency", 1)
    assert outcome.status == 1
    assert f"error: {photos}/s2/0002.png: late" in outcome.err
    assert "29 classified; 1 without an answer; " in outcome.err
    assert len(rows_of(out)) == 29
    again = pinnace("classify", photos / "s2", "--url", stub.url, "-o", out, "--resume")
    assert again.status == 0
    assert rows_of(out)[-1]["image"] == f"{photos}/s2/0002.png"


def test_a_server_that_only_fails_is_given_up(pinnace, stub, photos, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    stub.plan(*[stub.refuse(500, "internal", "the server failed to answer")] * 30)
    outcome = pinnace("classify", photos, "--url", stub.url, "-o", out, "--concurrency", 1)
    assert outcome.status == 2
    assert outcome.err.endswith("stopped: 0 of 300 images are done\nerror: the server failed to answer\n")
    assert not out.read_bytes()


def test_a_server_that_fails_now_and_then_is_not_given_up(pinnace, stub, photos, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    late = stub.refuse(504, "timeout", "late")
    stub.plan(*[late, late, stub.answer] * 20)
    outcome = pinnace("classify", photos, "--url", stub.url, "-o", out, "--concurrency", 1)
    assert outcome.status == 1
    assert "260 classified; 40 without an answer; " in outcome.err


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((422, "invalid_parameter", "top_k must be between 1 and 5"), "top_k must be between 1 and 5"),
        ((404, "not_found", "there is nothing at /classify"), "there is nothing at /classify"),
    ],
)
def test_what_is_wrong_with_every_image_ends_the_run_at_once(
    pinnace, stub, photos, tmp_path, refusal, message
) -> None:
    stub.plan(*[stub.refuse(*refusal)] * 300)
    outcome = pinnace("classify", photos, "--url", stub.url, "-o", tmp_path / "rows.csv")
    assert outcome.status == 2
    assert outcome.err.endswith(f"error: {message}\n")
    assert len(stub.requests) < 100
    # Nothing came of it, so the same command may be given again.
    stub.acts.clear()
    assert pinnace("classify", photos, "--url", stub.url, "-o", tmp_path / "rows.csv").status == 0


def test_a_full_server_is_fed_again_and_nothing_is_lost(pinnace, stub, photos, tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    stub.plan(*[stub.refuse(503, "full", "full", Retry_After="0"), stub.cut] * 8)
    assert pinnace("classify", photos / "s3", "--url", stub.url, "-o", out).status == 0
    assert len(rows_of(out)) == 30
    assert len(stub.requests) == 46


def test_interrupting_a_server_that_hangs(stub, photos, tmp_path) -> None:
    stub.plan(*[stub.hang] * 16)
    out = tmp_path / "rows.jsonl"
    command = [*PINNACE, "classify", photos, "--url", stub.url, "-o", out]
    with interruptible():
        process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(stub.requests) < 16:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)  # the client itself would wait 30 seconds for each
    assert process.returncode == 130
    assert err == "interrupted: 0 of 300 images are done\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["empty", "--url", "http://x"],
            "there are no images in empty\n  expected: files that end in .avif, .bmp, ",
        ),
        (
            ["a.jpg", "--url", "http://x", "-o", "rows.txt"],
            "the format of the rows does not follow from the name rows.txt\n"
            "  expected: a file that ends in .jsonl, .ndjson, .csv\n"
            "  help: or choose one with --format\n",
        ),
        (
            ["a.jpg", "--url", "http://x", "--resume"],
            "--resume continues a file\n  help: name it with --output\n",
        ),
        (
            ["a.jpg", "--url", "http://x", "--json", "-o", "rows.csv"],
            "--json prints one list; --output and --format write rows\n  help: leave one out\n",
        ),
        (
            ["a.jpg", "--url", "http://x", "--threads", "2"],
            "--variant, --runtime, --device and --threads apply to --bundle\n"
            "  help: for a server, set them where it is started\n",
        ),
    ],
)
def test_wrong_usage(pinnace, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    outcome = pinnace("classify", *arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_names_that_are_not_text(pinnace, bundle, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"raw-\xff.png", "caf\xe9.png".encode(), b"line\nbreak.png", b"esc\x1b[31m.png"):
        shutil.copy(photos / "s0" / "0000.png", os.fsencode(folder) + b"/" + name)
    command = [*PINNACE, "classify", "odd", "--bundle", str(bundle)]
    for extra in (["-o", "rows.jsonl"], ["-o", "rows.jsonl", "--resume"], ["--json"], ["--format", "jsonl"]):
        done = subprocess.run([*command, *extra], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
    written = [os.fsencode(row["image"]) for row in rows_of(Path("rows.jsonl"))]
    assert sorted(written) == [
        b"odd/caf\xc3\xa9.png",
        b"odd/esc\x1b[31m.png",
        b"odd/line\nbreak.png",
        b"odd/raw-\xff.png",
    ]
    # A terminal obeys no name.
    (folder / "red\x1b[31m.png").write_text("no image")
    outcome = pinnace("classify", "odd", "--bundle", bundle, "-o", "rows.jsonl", "--resume")
    assert "error: odd/red\\x1b[31m.png: the bytes are not of an accepted image type" in outcome.err
    assert "\x1b" not in outcome.err + pinnace("classify", folder / "esc\x1b[31m.png", "--bundle", bundle).out
    outcome = pinnace("classify", "odd", "--bundle", bundle, "-o", "rows.csv")
    assert outcome.status == 2
    assert "has a line break, and a row of CSV is one line" in outcome.err


def test_a_key_comes_from_the_environment_and_one_that_is_wrong_ends_the_run(
    pinnace, stub, photos, monkeypatch
) -> None:
    monkeypatch.setenv("PINNACE_API_KEY", "s3cret")
    stub.plan(*[stub.refuse(401, "unauthorized", "the API key is wrong", "send another")] * 40)
    outcome = pinnace("classify", photos / "s4", "--url", stub.url)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err == (
        "stopped: 0 of 30 images are done\nerror: the API key is wrong\n  help: send another\n"
    )
    assert set(stub.keys) == {"Bearer s3cret"}
    assert "s3cret" not in pinnace("classify", "--help").out
