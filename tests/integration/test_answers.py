"""What a network answers with, from the file to the answer, against ONNX Runtime by hand on photographs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet
import pytest
import scipy.special
import sklearn.datasets
import sklearn.metrics

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.photographs import photographs
from support.command_line import CommandLine, run_here
from support.meanings import answer_by_hand, write_network

pytestmark = pytest.mark.slow

FOLDER = Path(sklearn.datasets.__file__).parent / "images"
PHOTOGRAPHS = [*photographs(), FOLDER / "china.jpg", FOLDER / "flower.jpg"]
LABELS = "cat\nindoor\ncar\nboat\n"


@pytest.fixture
def pinnace(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


Made = Callable[..., tuple[Path, Path, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Exports a small network once for each set of options: its file, its bundle, and what was printed."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "labels.txt").write_text(LABELS)

    @cache
    def make(end: str, classes: int = 4, *options: str) -> tuple[Path, Path, str]:
        number = len(list(folder.glob("*.onnx")))
        file = write_network(folder / f"{end}{number}.onnx", end, classes)
        bundle = folder / f"{end}{number}.bundle"
        words = ("export", f"file:{file}", "-o", bundle, "--resize", "8x8", "--crop", "8x8", *options)
        printed = run_here(*words, folder=folder)
        assert printed.status == 0, printed.err
        return file, bundle, printed.err

    return make


def test_probabilities_are_answered_as_they_are(made: Made, pinnace: CommandLine) -> None:
    file, bundle, printed = made("softmax")
    assert "the graph ends in Softmax" in printed
    for image, found in zip(PHOTOGRAPHS, scores(pinnace, bundle), strict=True):
        np.testing.assert_allclose(found, answer_by_hand(file, image), atol=1e-5)


def test_log_probabilities_are_probabilities(made: Made, pinnace: CommandLine) -> None:
    file, bundle, _ = made("log_softmax")
    for image, found in zip(PHOTOGRAPHS, scores(pinnace, bundle), strict=True):
        np.testing.assert_allclose(found, np.exp(answer_by_hand(file, image)), atol=1e-5)


@pytest.mark.parametrize("end", ["logits", "image"])
def test_logits_get_a_softmax_and_the_assumption_is_told(made: Made, pinnace: CommandLine, end: str) -> None:
    file, bundle, printed = made(end)
    assert "is assumed to be logits of which one class is true" in printed
    assert "--scores sigmoid" in printed
    for image, found in zip(PHOTOGRAPHS, scores(pinnace, bundle), strict=True):
        np.testing.assert_allclose(found, scipy.special.softmax(answer_by_hand(file, image)), atol=1e-5)


@pytest.mark.parametrize(
    ("end", "options", "function"),
    [
        ("sigmoid", (), lambda values: values),
        ("sigmoid", ("--scores", "sigmoid"), lambda values: values),
        ("logits", ("--scores", "sigmoid"), scipy.special.expit),
    ],
)
def test_several_labels(
    made: Made,
    pinnace: CommandLine,
    end: str,
    options: tuple[str, ...],
    function: Callable[[np.ndarray], np.ndarray],
) -> None:
    file, bundle, _ = made(end, 4, "--labels", "labels.txt", *options)
    assert Bundle.open(bundle).outputs.several_labels
    answers = pinnace("classify", *PHOTOGRAPHS, "--bundle", bundle, "--json", "--threshold", "0.4").json
    for image, answer in zip(PHOTOGRAPHS, answers, strict=True):
        wanted = function(answer_by_hand(file, image))
        assert answer["threshold"] == 0.4
        for one in answer["predictions"]:
            assert one["probability"] == pytest.approx(wanted[one["index"]], abs=1e-5)
            assert one["above_threshold"] == (wanted[one["index"]] >= 0.4)
            assert one["label"] == LABELS.split()[one["index"]]


def test_one_value_is_two_classes(made: Made, pinnace: CommandLine, tmp_path: Path) -> None:
    file, bundle, printed = made("logits", 1)
    assert "two classes, 1 - p and p" in printed
    for image, found in zip(PHOTOGRAPHS, scores(pinnace, bundle), strict=True):
        p = scipy.special.expit(answer_by_hand(file, image)[0])
        np.testing.assert_allclose(found, [1 - p, p], atol=1e-5)
    assert pinnace("verify", bundle).status == 0


def test_a_head_is_chosen_by_its_name(made: Made, pinnace: CommandLine) -> None:
    file, bundle, printed = made("heads", 4, "--output", "colour")
    assert "is assumed to be logits" in printed
    for image, found in zip(PHOTOGRAPHS, scores(pinnace, bundle), strict=True):
        wanted = scipy.special.softmax(answer_by_hand(file, image, 1))
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_best_class_alone_leads_to_its_scores(pinnace: CommandLine, tmp_path: Path) -> None:
    """What the message says is typed, and the scores are those of a session that gives them too."""
    write_network(tmp_path / "best.onnx", "best")
    bundle = tmp_path / "best.bundle"
    words = ("export", tmp_path / "best.onnx", "--resize", "8x8", "-o", bundle)
    refused = pinnace(*words)
    assert refused.status == 2
    assert "the output answer holds the number of the best class of an image" in refused.err
    found = re.search(r"-o NAME.bundle (--output \S+) takes what that is made of", refused.err)
    assert found is not None
    done = pinnace(*words, *found[1].split())
    assert done.status == 0, done.err
    assert "net/scores:0, a tensor inside the file, is the output, in place of answer" in done.err
    assert "ArgMax" not in {node.op_type for node in onnx.load(bundle / "onnx-fp32.onnx").graph.node}
    write_network(tmp_path / "scores.onnx", "softmax")
    for image, scored in zip(PHOTOGRAPHS, scores(pinnace, bundle), strict=True):
        np.testing.assert_allclose(scored, answer_by_hand(tmp_path / "scores.onnx", image), atol=1e-5)
        assert np.argmax(scored) == answer_by_hand(tmp_path / "best.onnx", image)[0]
    unknown = pinnace(*words, "--output", "net/nothing")
    assert unknown.status == 2
    assert "the model has no output net/nothing" in unknown.err
    assert "a tensor inside the file may be taken, but there is none of this name" in unknown.err


def test_heads_that_nothing_distinguishes_are_told_everywhere_alike(made: Made, pinnace: CommandLine) -> None:
    _, bundle, printed = made("heads")
    reason = "has several outputs and nothing says which one is the answer, so it cannot"
    remedy = "export again with --output NAME, such as --output animal"
    assert reason in printed
    assert remedy in printed
    for command in (
        ("classify", PHOTOGRAPHS[0], "--bundle", bundle),
        ("embed", PHOTOGRAPHS[0], "--bundle", bundle),
        ("eval", bundle, "--images", FOLDER),
    ):
        outcome = pinnace(*command)
        assert outcome.status == 2
        assert reason in outcome.err
        assert "animal=float32[batch,4], colour=float32[batch,4]" in outcome.err
        assert remedy in outcome.err


def test_an_embedding_is_not_classified_and_says_what_to_do(made: Made, pinnace: CommandLine) -> None:
    _, bundle, printed = made("features")
    assert "an embedding of 3 numbers, not normalised" in printed
    outcome = pinnace("classify", PHOTOGRAPHS[0], "--bundle", bundle)
    assert outcome.status == 2
    assert "answers with an embedding of 3 numbers and not with scores of classes" in outcome.err
    assert "pinnace embed" in outcome.err


def test_rows_of_several_labels(made: Made, pinnace: CommandLine, tmp_path: Path) -> None:
    file, bundle, _ = made("sigmoid", 4, "--labels", "labels.txt")
    want = [
        {name for name, p in zip(LABELS.split(), answer_by_hand(file, image), strict=True) if p >= 0.5}
        for image in PHOTOGRAPHS
    ]
    rows = tmp_path / "rows.csv"
    outcome = pinnace("classify", *PHOTOGRAPHS, "--bundle", bundle, "-o", rows, "--top-k", "1")
    assert outcome.status == 0
    header, *lines = [line.split(",") for line in rows.read_text().splitlines()]
    column = header.index("labels")
    listed = [set(line[column].split("|")) - {""} for line in lines]
    # One class is asked for, so no more than one is there.
    for found, wanted in zip(listed, want, strict=True):
        assert found <= wanted
        assert len(found) == min(1, len(wanted))
    assert f"{len(PHOTOGRAPHS)} classified" in outcome.err
    again = pinnace("classify", *PHOTOGRAPHS, "--bundle", bundle, "-o", rows, "--top-k", "1", "--resume")
    assert again.status == 0
    lines_of_json = tmp_path / "rows.jsonl"
    assert pinnace("classify", *PHOTOGRAPHS, "--bundle", bundle, "-o", lines_of_json).status == 0
    parsed = [json.loads(line) for line in lines_of_json.read_text().splitlines()]
    assert [{one["label"] for one in row["predictions"] if one["above_threshold"]} for row in parsed] == want


@pytest.mark.parametrize(("end", "norm"), [("features", None), ("normalised", 1.0)])
def test_vectors_are_those_of_the_file(
    made: Made, pinnace: CommandLine, tmp_path: Path, end: str, norm: float | None
) -> None:
    file, bundle, _ = made(end)
    assert Bundle.open(bundle).outputs.normalised == (norm is not None)
    want = np.stack([answer_by_hand(file, image) for image in PHOTOGRAPHS])
    arguments = ("embed", *PHOTOGRAPHS, "--bundle", bundle, "-o")
    for suffix in (".npy", ".parquet", ".jsonl"):
        assert pinnace(*arguments, tmp_path / f"vectors{suffix}").status == 0
    names = [str(path) for path in PHOTOGRAPHS]
    array = np.load(tmp_path / "vectors.npy")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, want, atol=1e-5)
    assert (tmp_path / "vectors.names.txt").read_text().splitlines() == names
    table = pyarrow.parquet.read_table(tmp_path / "vectors.parquet")
    assert table["image"].to_pylist() == names
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), array)
    assert table.schema.metadata[b"normalised"] == (b"true" if norm else b"false")
    lines = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == names
    np.testing.assert_array_equal(np.float32([line["embedding"] for line in lines]), array)
    if norm is not None:
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), norm, atol=1e-5)


def test_vectors_in_half_precision_and_an_image_that_cannot_be_read(
    made: Made, pinnace: CommandLine, tmp_path: Path
) -> None:
    file, bundle, _ = made("features")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "v.npy"
    outcome = pinnace(
        "embed", tmp_path / "bad.jpg", PHOTOGRAPHS[0], "--bundle", bundle, "-o", out, "--dtype", "float16"
    )
    assert outcome.status == 1
    assert "bad.jpg" in outcome.err
    array = np.load(out)
    assert array.dtype == np.float16
    np.testing.assert_allclose(array, answer_by_hand(file, PHOTOGRAPHS[0])[None], atol=2e-3)
    assert (tmp_path / "v.names.txt").read_text() == f"{PHOTOGRAPHS[0]}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"bad.jpg", "v.npy", "v.names.txt", "v.model.json"}
    command = ("embed", tmp_path / "bad.jpg", *PHOTOGRAPHS, "--bundle", bundle, "--dtype", "float16")
    continued = pinnace(*command, "-o", out, "--resume")
    assert continued.status == 1
    assert f"{len(PHOTOGRAPHS)} embedded; 1 cannot be read; 1 of them by an earlier run" in continued.err
    assert (tmp_path / "v.names.txt").read_text().splitlines() == list(map(str, PHOTOGRAPHS))
    array = np.load(out)
    listed = pinnace(*command, "--json")
    assert listed.status == 1
    bad, *rows = listed.json
    assert set(bad) == {"image", "error"}
    assert [row["image"] for row in rows] == list(map(str, PHOTOGRAPHS))
    np.testing.assert_array_equal([row["embedding"] for row in rows], array.astype(np.float64))
    assert set(rows[0]) >= {"model", "variant", "runtime", "version", "normalised", "timing_ms"}
    other = Path(shutil.copytree(bundle, tmp_path / "other.bundle"))
    manifest = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(manifest.replace(f'"name": "{bundle.stem}"', '"name": "other"', 1))
    (tmp_path / "v.names.txt").write_text(f"{PHOTOGRAPHS[0]}\n")
    mixed = pinnace("embed", *PHOTOGRAPHS, "--bundle", other, "--dtype", "float16", "-o", out, "--resume")
    assert mixed.status == 2
    assert "the rows in the file come from another model" in mixed.err


def scores(pinnace: CommandLine, bundle: Path) -> list[np.ndarray]:
    """The scores of all classes for each photograph, in the order of the classes."""
    answers = pinnace("classify", *PHOTOGRAPHS, "--bundle", bundle, "--json").json
    return [
        np.array([one["probability"] for one in sorted(answer["predictions"], key=lambda one: one["index"])])
        for answer in answers
    ]


def test_eval_of_several_labels(made: Made, pinnace: CommandLine, tmp_path: Path) -> None:
    file, bundle, _ = made("sigmoid", 4, "--labels", "labels.txt")
    rng = np.random.default_rng(3)
    true = rng.random((len(PHOTOGRAPHS), 4)) > 0.4
    true[0] = True
    names = LABELS.split()
    lines = [
        f"{image},{'|'.join(name for name, yes in zip(names, row, strict=True) if yes)}"
        for image, row in zip(PHOTOGRAPHS, true, strict=True)
    ]
    (tmp_path / "truth.csv").write_text("\n".join(["file,labels", *lines, ""]))
    by_hand = np.stack([answer_by_hand(file, image) for image in PHOTOGRAPHS]).astype(np.float64)
    outcome = pinnace("eval", bundle, "--truth", tmp_path / "truth.csv", "--json", "--threshold", "0.3")
    assert outcome.status == 0, outcome.err
    for row in outcome.json["variants"]:
        assert row["images"] == len(PHOTOGRAPHS)
        expected = sklearn.metrics.average_precision_score(true, by_hand, average="macro")
        assert row["mean_average_precision"] == pytest.approx(expected)
        f1 = sklearn.metrics.f1_score(true, by_hand >= 0.3, average=None, zero_division=0)
        np.testing.assert_allclose([one["f1"] for one in row["labels"]], f1)
        assert row["macro_f1"] == pytest.approx(f1.mean())
    table = pinnace("eval", bundle, "--truth", tmp_path / "truth.csv")
    assert table.status == 0
    assert "mAP" in table.out
    folders = pinnace("eval", bundle, "--images", FOLDER)
    assert folders.status == 2
    assert "--truth FILE.csv" in folders.err
