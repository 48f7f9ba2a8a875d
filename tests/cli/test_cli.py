"""The command line from outside: exit statuses, sentences, what goes to which stream."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.install import install_line
from pinnace.models.runtimes import all_runtimes

PHOTOGRAPHS = Path(__file__).parents[2] / "models" / "photographs"
CAT = PHOTOGRAPHS / "cat.jpg"
COFFEE = PHOTOGRAPHS / "coffee.jpg"
VARIANT_KEYS = {"name", "format", "precision", "file", "sha256", "bytes", "parity"}
PARITY_KEYS = {"max_abs", "max_rel", "cosine", "top1_agreement"}


def test_a_newcomer_is_told_how_to_begin(pinnace):
    outcome = pinnace()
    assert outcome.status == 0
    commands = [line.split()[1] for line in outcome.out.splitlines() if line.startswith("  pinnace ")]
    assert commands == ["quickstart", "export", "serve", "classify"]


def test_inspect_prints_the_promised_keys(pinnace, bundle):
    outcome = pinnace("inspect", bundle, "--json")
    assert outcome.status == 0
    assert outcome.json["bundle"] == str(bundle)
    assert [variant["name"] for variant in outcome.json["variants"]] == ["onnx-fp32", "torchscript-fp32"]
    for variant in outcome.json["variants"]:
        assert variant.keys() >= VARIANT_KEYS
        assert variant["parity"].keys() >= PARITY_KEYS


def test_inspect_shows_tables_that_a_pipe_does_not_cut(pinnace, bundle):
    outcome = pinnace("inspect", bundle)
    assert outcome.status == 0
    assert "torchscript-fp32" in outcome.out
    assert "shortest edge to 37, bilinear; centre crop 32x32; RGB" in outcome.out


@pytest.mark.slow
def test_export_prints_what_inspect_prints(pinnace, project, bundle, monkeypatch):
    monkeypatch.chdir(project)
    arguments = ["--arch", "net:build", "--input-size", "32x32", "--format", "torchscript", "--json"]
    outcome = pinnace("export", "file:weights.pt", "-o", "again.bundle", *arguments)
    assert outcome.status == 0
    assert outcome.json == pinnace("inspect", project / "again.bundle", "--json").json
    assert [variant["name"] for variant in outcome.json["variants"]] == ["torchscript-fp32"]
    assert "note: the source does not say how images are preprocessed" in outcome.err
    assert Bundle.open(project / "again.bundle").labels == ("0", "1", "2", "3", "4")


def test_verify_passes_and_says_so(pinnace, bundle):
    outcome = pinnace("verify", bundle, "--json")
    assert outcome.status == 0
    assert outcome.json["passed"] is True
    for variant in outcome.json["variants"]:
        assert variant.keys() >= VARIANT_KEYS | {"runtime", "passed"}
        assert variant["passed"] is True


def test_verify_finds_a_changed_byte_and_exits_with_1(pinnace, bundle, tmp_path):
    copy = tmp_path / "copy.bundle"
    shutil.copytree(bundle, copy)
    path = copy / "onnx-fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    outcome = pinnace("verify", copy, "--json")
    assert outcome.status == 1
    assert outcome.json["passed"] is False
    assert {v["name"]: v["passed"] for v in outcome.json["variants"]} == {
        "onnx-fp32": False,
        "torchscript-fp32": True,
    }
    assert f"{path} has changed since it was exported" in outcome.err


def test_classify_answers_as_the_classifier_does_from_both_variants(pinnace, bundle):
    with Classifier(Bundle.open(bundle)) as classifier:
        expected = classifier.classify(CAT, 3)
    for variant in ("onnx-fp32", "torchscript-fp32"):
        outcome = pinnace("classify", CAT, "--bundle", bundle, "--variant", variant, "--top-k", 3, "--json")
        assert outcome.status == 0
        (row,) = outcome.json
        assert row["image"] == str(CAT)
        assert row["model"] == "colours"
        assert row["variant"] == variant
        assert [p["label"] for p in row["predictions"]] == [p.label for p in expected.predictions]
        for got, want in zip(row["predictions"], expected.predictions, strict=True):
            assert got["probability"] == pytest.approx(want.probability, abs=1e-4)


def test_the_device_that_was_asked_for_answers_or_is_refused(pinnace, bundle):
    asked = ("classify", CAT, "--bundle", bundle, "--json", "--device")
    for device in ("cpu", "auto"):
        (row,) = pinnace(*asked, device).json
        assert device in all_runtimes()[row["runtime"]].devices
    for verb in ("classify", "embed"):
        elsewhere = pinnace(verb, CAT, "--url", "http://127.0.0.1:9", "--device", "cpu")
        assert elsewhere.status == 2
        assert "--device and --threads apply to --bundle" in elsewhere.err


def test_classify_shows_bars(pinnace, bundle):
    outcome = pinnace("classify", CAT, "--bundle", bundle)
    assert outcome.status == 0
    assert "█" in outcome.out
    assert "\x1b[" not in outcome.out


def test_one_bad_image_among_others_is_reported_and_passed_over(pinnace, bundle, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    outcome = pinnace("classify", CAT, bad, COFFEE, "--bundle", bundle, "--json")
    assert outcome.status == 1
    assert [row["image"] for row in outcome.json] == [str(CAT), str(bad), str(COFFEE)]
    assert outcome.json[1]["error"]["code"] == "unsupported_image_type"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["export", "nothing:at-all", "-o", "x.bundle"],
            2,
            "error: 'nothing:at-all' is not a model source\n"
            "  expected: efficientnet_lite0; torchvision:resnet50[@WEIGHTS or @none]; ",
        ),
        (
            ["export", "efficientnet_lite9", "-o", "x.bundle"],
            2,
            "error: 'efficientnet_lite9' is not in the catalogue\n"
            "  expected: one of efficientnet_lite0, efficientnet_lite1, efficientnet_lite2\n",
        ),
        (
            ["export", "efficientnet_lite0", "-o", "x.bundle", "--input-size", "big"],
            2,
            "error: 'big' is not a size\n  expected: HEIGHTxWIDTH, such as 224x224\n",
        ),
        (
            ["export", "efficientnet_lite0", "-o", "x.bundle", "--target", "toaster"],
            2,
            "error: there is no target 'toaster'\n  expected: a TOML file or one of ",
        ),
        (
            ["export"],
            2,
            "error: pinnace export needs SOURCE\n"
            "  help: such as: pinnace export weights.pt --labels names.txt -o resnet50.bundle\n",
        ),
        (
            ["verify", "no.bundle"],
            2,
            "error: no.bundle is not a bundle: it has no manifest.json\n"
            "  help: make one with: pinnace export SOURCE -o no.bundle\n",
        ),
        (
            ["inspect", "no.bundle", "--frobnicate"],
            2,
            "error: pinnace inspect has no option --frobnicate\n  help: pinnace inspect --help lists all\n",
        ),
        (
            ["classify", "a.jpg"],
            2,
            "error: neither a bundle nor a server is given\n"
            "  help: --bundle BUNDLE answers in this process, and --url URL asks a server\n",
        ),
        (
            ["classify", "a.jpg", "--url", "ftp://localhost:3000"],
            2,
            "error: 'ftp://localhost:3000' is not a server's URL\n  expected: http://HOST:PORT or https://HOST:PORT\n",
        ),
    ],
)
def test_a_wrong_command_gets_one_sentence(pinnace, tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    outcome = pinnace(*arguments)
    assert outcome.status == status
    assert outcome.err.startswith(message)
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--variant", "onnx-int3"],
            "has no variant onnx-int3\n  expected: one of onnx-fp32, torchscript-fp32\n  got: onnx-int3\n",
        ),
        (["--device", "quantum"], "unknown device\n  expected: one of cpu, cuda, "),
        (["--runtime", "abacus"], "there is no runtime abacus\n  expected: one of onnxruntime, "),
        (
            ["--top-k", "9"],
            "error: top_k must be between 1 and 5, the number of classes\n  got: 9\n",
        ),
    ],
)
def test_a_wrong_choice_names_what_there_is(pinnace, bundle, options, message):
    outcome = pinnace("classify", CAT, "--bundle", bundle, *options)
    assert outcome.status == 2
    assert message in outcome.err


def test_a_server_that_is_not_there(pinnace):
    outcome = pinnace("classify", CAT, "--url", "http://127.0.0.1:9")
    assert outcome.status == 2
    assert outcome.err.startswith("error: http://127.0.0.1:9 cannot be reached: ")
    assert outcome.err.endswith(
        "  help: check that the server is running; `pinnace serve BUNDLE` starts one\n"
    )


def test_a_missing_package_exits_with_3_and_says_how_to_get_it(pinnace, bundle, monkeypatch):
    from pinnace.models.runtimes import all_runtimes

    for runtime in all_runtimes().values():
        monkeypatch.setattr(runtime, "unavailable_reason", classmethod(lambda cls: "it is not installed"))
    outcome = pinnace("classify", CAT, "--bundle", bundle, "--variant", "torchscript-fp32")
    assert outcome.status == 3
    assert outcome.err == (
        "error: no runtime on this machine can run torchscript-fp32: torchscript: it is not installed\n"
        f"  help: install one with: {install_line('export')}\n"
    )


def test_an_error_of_our_own_shows_no_traceback_unless_asked(pinnace, bundle, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Bundle, "open", broken)
    outcome = pinnace("inspect", bundle)
    assert outcome.status == 70
    assert outcome.err.startswith("error: internal error: ZeroDivisionError: oh\n")
    monkeypatch.setenv("PINNACE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        pinnace("inspect", bundle)


def test_doctor_names_every_runtime(pinnace):
    from pinnace.models.runtimes import all_runtimes

    outcome = pinnace("doctor", "--json")
    assert outcome.status == 0
    found = {finding["name"] for finding in outcome.json}
    assert found >= {f"runtime {name}" for name in all_runtimes()} | {"python", "cpus", "export", "serve"}
    assert "onnxruntime" in pinnace("doctor").out


def test_models_lists_the_catalogue(pinnace):
    outcome = pinnace("models", "--json")
    assert [model["name"] for model in outcome.json] == [
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
        "darknet:yolov2-tiny-voc",
        "darknet:yolov2-tiny",
        "darknet:yolov3-tiny",
        "darknet:yolov3",
    ]
    assert "75.1 %" in pinnace("models").out


def test_the_installed_command_works_and_a_closed_pipe_is_no_noise(bundle):
    command = Path(sys.executable).with_name("pinnace")
    process = subprocess.Popen(
        [command, "inspect", bundle, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("redirection", "status", "error"),
    [
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 2, "error: standard output cannot be written: no space left on device\n"),
    ],
)
def test_standard_output_may_be_closed_or_full(redirection, status, error):
    command = Path(sys.executable).with_name("pinnace")
    done = subprocess.run(
        ["sh", "-c", f'"$0" targets {redirection}', command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", error)


def test_what_is_not_an_image_file_is_a_row_of_its_own(pinnace, bundle, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    os.mkfifo(folder / "a.jpg")
    with (folder / "b.jpg").open("wb") as file:
        file.truncate(40 << 30)
    (folder / "c.jpg").symlink_to("/dev/zero")
    shutil.copy(CAT, folder / "d.jpg")
    rows = tmp_path / "rows.jsonl"
    for more in ((), ("--resume",)):
        outcome = pinnace("classify", folder, "--bundle", bundle, "-o", rows, *more)
        assert outcome.status == 1
        found = [json.loads(line) for line in rows.read_text().splitlines()]
        assert [row.get("error", {}).get("code") for row in found] == [
            "undecodable_image",
            "image_too_large",
            "undecodable_image",
            None,
        ]


@pytest.mark.slow
def test_json_is_the_only_thing_on_standard_output(bundle):
    command = Path(sys.executable).with_name("pinnace")
    environment = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run(
        [command, "verify", bundle, "--json", "--progress"],
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["passed"] is True


def test_a_library_that_crashes_does_not_end_without_a_word() -> None:
    code = "import ctypes; from pinnace.cli import main; main.run = ctypes.string_at; main.main(0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "string_at" in done.stderr
