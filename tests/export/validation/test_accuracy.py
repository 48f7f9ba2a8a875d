"""Right answers, counted; folders of classes, found; and what a variant may lose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from pinnace.cli import main
from pinnace.export.image_folder import Classes, folder_labels, order_note, read_image_folder
from pinnace.export.validation.accuracy import Count, check_drop, evaluate_bundle, wilson
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.measurements import Accuracy
from pinnace.models.classifier import Classifier
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.progress import Event, Stage
from support.errors import refusal

LABELS = ("cat", "Dog House", "crane", "sea-lion", "crane")


# Counting.


def test_counts_by_hand() -> None:
    logits = np.float32(
        [[9, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0], [7, 7, 0, 0, 0, 0, 0]]
    )
    count = Count()
    count.add(logits[:2], [0, 2])  # first; fifth
    count.add(logits[2:], [0, 1])  # sixth; second of two that are equal
    found = count.accuracy()
    assert (found.images, found.top1, found.top5) == (4, 1 / 4, 3 / 4)
    assert found.top1_interval == wilson(1, 4)


def test_of_three_classes_all_are_among_the_first_five() -> None:
    count = Count()
    count.add(np.float32([[1, 2, 3], [3, 2, 1]]), [0, 2])
    assert (count.first, count.among) == (0, 2)


@pytest.mark.parametrize(("right", "images"), [(9, 10), (751, 1000), (0, 5), (5, 5)])
def test_wilsons_interval_is_scipys(right: int, images: int) -> None:
    expected = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson(right, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def accuracy(top1: float) -> Accuracy:
    return Accuracy(200, top1, 1.0, (0, 1), (0, 1))


def test_a_drop_is_judged_in_points() -> None:
    check_drop("onnx-int8", accuracy(0.74), accuracy(0.75), 1.0)
    check_drop("onnx-int8", accuracy(0.80), accuracy(0.75), 0.0)
    assert refusal(CheckFailed, lambda: check_drop("onnx-int8", accuracy(0.735), accuracy(0.75), 1.0)) == (
        "onnx-int8 loses 1.50 points of top-1 against fp32 on 200 images; no bundle was written\n"
        "  expected: at most 1 points\n"
        "  got: 73.50%, and 75.00% in fp32\n"
        "  help: give more --calibrate images, another --calibration-method, or leave the precision out"
    )


# Folders.


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("cat", 0),
        ("dog_house", 1),
        ("Sea Lion", 3),
        ("4", 4),
        ("004", 4),
        ("5", None),
        ("crane", None),  # which of the two?
        ("n01440764", None),  # there are no 1000 classes
        ("mouse", None),
    ],
)
def test_a_folder_is_a_label_or_an_index(name: str, index: int | None) -> None:
    assert Classes(LABELS).index(name) == index


def test_a_label_that_is_a_number_is_that_class_and_not_the_index() -> None:
    assert Classes(["1", "0"]).index("1") == 0


def test_a_wordnet_id_is_one_of_the_1000_classes() -> None:
    imagenet = Classes([f"label {index}" for index in range(1000)])
    assert imagenet.index("n01440764") == 0  # tench
    assert imagenet.index("n02124075") == 285  # Egyptian cat
    assert imagenet.index("n15075141") == 999  # toilet tissue
    assert imagenet.index("n00000000") is None


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_images_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path: Path) -> None:
    deep, plain = save(tmp_path / "cat" / "deep" / "b.png"), save(tmp_path / "2" / "a.jpg")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    save(tmp_path / "loose.png")
    found = read_image_folder(tmp_path, LABELS)
    assert [(image.file, image.target) for image in found] == [(plain, 2), (deep, 0)]


def test_the_names_of_folders_are_labels_in_the_order_of_their_text(tmp_path: Path) -> None:
    for name in ("bird10", "bird9", "Bird2", "ape"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    (tmp_path / "tree" / "cat.txt").touch()
    assert folder_labels(tmp_path / "tree", 4) == ("Bird2", "ape", "bird10", "bird9")
    assert folder_labels(tmp_path / "tree", 5) is None
    assert folder_labels(tmp_path / "none", 0) is None
    for name in ("1", "10", "9"):
        (tmp_path / "numbers" / name).mkdir(parents=True)
    assert folder_labels(tmp_path / "numbers", 3) is None


def test_the_order_of_folders_that_are_numbers_is_told(tmp_path: Path) -> None:
    for name in range(11):
        (tmp_path / str(name)).mkdir()
    note = order_note(tmp_path, [str(index) for index in range(11)])
    assert note is not None
    assert note.startswith(
        f"the folders in {tmp_path} were taken for the indices of classes; torchvision's ImageFolder counts "
        "them in the order of text (0, 1, 10, ...): if the network was trained on folders named so, "
    )
    assert order_note(tmp_path, [f"class {index}" for index in range(11)]) is None  # matched by name
    (tmp_path / "10").rmdir()
    assert order_note(tmp_path, [str(index) for index in range(11)]) is None  # both orders are the same


def test_trees_that_do_not_fit(tmp_path: Path) -> None:
    read = lambda: read_image_folder(tmp_path / "tree", LABELS)  # noqa: E731
    tree = tmp_path / "tree"
    assert refusal(UsageError, read) == f"there is no folder {tree}\n  expected: a folder with images"
    tree.mkdir()
    assert refusal(UsageError, read).startswith(f"there are no images in {tree}\n  expected: files that end")
    save(tree / "loose.png")
    assert refusal(UsageError, read) == (
        f"the 1 images in {tree} are not in a folder of a class\n"
        f"  expected: one folder for each class, such as {tree}/cat"
    )
    save(tree / "cat" / "a.png")
    for name in ("a", "b", "c", "crane", "e", "f"):
        save(tree / name / "a.png")
    assert refusal(UsageError, read) == (
        f"6 of the 7 folders in {tree} do not name a class\n"
        "  expected: a label, a WordNet id (for the 1000 classes of ImageNet), or an index\n"
        "  got: a, b, c, crane, e, ..."
    )


# A bundle.


@pytest.fixture(scope="module")
def tree(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Twelve pictures in the folders of the classes that the network gives to three quarters of them."""
    folder = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(0)
    right = 0
    with Classifier(exported, "onnx-fp32") as network:
        for index in range(12):
            path = folder / f"{index}.png"
            patch = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            patch.resize((16, 16), Image.Resampling.BICUBIC).save(path)
            answer = network.classify(open_image(path), 1).predictions[0].index
            wrong = index % 4 == 0
            right += not wrong
            target = folder / str((answer + 1) % 5 if wrong else answer)
            target.mkdir(exist_ok=True)
            shutil.move(path, target)
    (target / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder, right / 12


def test_every_variant_in_every_runtime_is_counted(exported: Bundle, tree: tuple[Path, float]) -> None:
    folder, share = tree
    seen: list[Event] = []
    rows, problems = evaluate_bundle(exported, folder, progress=seen.append)
    assert {(row.variant, row.runtime) for row in rows} >= {
        ("onnx-fp32", "onnxruntime"),
        ("torchscript-fp32", "torchscript"),
    }
    for row in rows:
        assert (row.accuracy.images, row.accuracy.top1, row.accuracy.top5) == (12, share, 1.0)
    (problem,) = problems
    assert problem.endswith("broken.png was skipped: the PNG image is damaged or cut short")
    assert seen[-1] == Event(Stage.EVALUATE, done=13, total=13)


def test_eval_prints_what_scripts_rely_on(
    exported: Bundle, tree: tuple[Path, float], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, share = tree
    asked = ["eval", str(exported.folder), "--images", str(folder), "--variant", "onnx-fp32"]
    assert main.run([*asked, "--runtime", "onnxruntime", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["variants"] == [
        {
            "name": "onnx-fp32",
            "runtime": "onnxruntime",
            "images": 12,
            "top1": share,
            "top5": 1.0,
            "top1_interval": list(wilson(9, 12)),
            "top5_interval": list(wilson(12, 12)),
        }
    ]
    assert err.count("was skipped") == 1
    assert main.run(asked) == 0
    assert f"{share:.2%}" in capsys.readouterr().out


def test_only_what_runs_on_the_device_is_counted(
    exported: Bundle, tree: tuple[Path, float], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", str(exported.folder), "--images", str(tree[0]), "--device"]
    assert main.run([*asked, "auto", "--json"]) == 0
    out, err = capsys.readouterr()
    assert {row["runtime"] for row in json.loads(out)["variants"]} == {"openvino"}
    assert "torchscript-fp32 in torchscript was skipped: it does not run on auto" in err
    assert main.run([*asked, "quantum"]) == 2
    assert "unknown device\n  expected: one of cpu, cuda, " in capsys.readouterr().err


def test_nothing_to_evaluate(exported: Bundle, tree: tuple[Path, float]) -> None:
    message = refusal(UsageError, lambda: evaluate_bundle(exported, tree[0], runtimes=["abacus"]))
    assert message == f"nothing in {exported.folder} can be run here\n  got: abacus"
