"""The classic suite, the published figures beside it, and suite files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace.export import targets
from pinnace.latency.suites import published, suite
from pinnace.latency.suites.suite import FOLDER

TINY = """
description = "two"
[[rows]]
name = "tiny"
source = "file:tiny.onnx"
note = "it sees colours"
[[rows]]
name = "lost"
source = "file:lost.onnx"
"""


def test_the_classic_suite_is_the_thirteen_networks() -> None:
    classic = suite.read("classic")
    assert [row.name for row in classic.rows] == [
        "alexnet-227",
        "vgg19-224",
        "resnet18-224",
        "resnet50-224",
        "resnet101-224",
        "squeezenet-224",
        "mobilenet_v2-224",
        "inception_v3-299",
        "inception_v3-512",
        "inception_v4-299",
        "yolov2-tiny-416",
        "yolov3-416",
        "yolov3-tiny-416",
    ]
    assert classic.target in targets.names()
    assert all(row.edges == (int(row.name.rpartition("-")[2]),) * 2 for row in classic.rows)
    assert suite.names() == sorted(path.stem for path in FOLDER.glob("*.toml"))


def test_every_published_figure_stands_beside_a_row() -> None:
    rows = {(row.source.partition("@")[0], row.edges) for row in suite.read("classic").rows}
    for publication in published.all_publications():
        for figures in publication.figures:
            assert len(figures.fps) == len(publication.columns)
            if figures.network != "torchvision:squeezenet1_1":  # for suites that take the other version
                assert (figures.network, (figures.size, figures.size)) in rows
    boards = next(each for each in published.all_publications() if "NMStick" in each.columns)
    found = boards.of("torchvision:inception_v3@none", (512, 512))
    assert found is not None
    assert dict(zip(boards.columns, found.fps, strict=True)) == {
        "MC121.01": 0.24,
        "NMStick": 0.23,
        "MC127.05": 3.93,
        "MC127.05 batch": 5.44,
    }
    assert boards.of("torchvision:inception_v3@none", (224, 224)) is None
    assert boards.of("http://localhost:3000", (512, 512)) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rows = []\ndescription = 'x'", "rows: tuple should have at least 1 item"),
        (TINY + "colour = 1", "rows.1.colour: unexpected keyword argument"),
        (TINY.replace('"lost"', '"tiny"'), "two rows have the same name"),
        (TINY.replace('"lost"', '"../lost"'), "a row's name becomes the name of a folder"),
        (TINY.replace('"file:lost.onnx"', '"abacus:x"'), "'abacus:x' is not a model source"),
        ("= 3", "is not valid TOML"),
    ],
)
def test_a_suite_file_that_is_wrong_is_a_sentence(pinnace, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    done = pinnace("bench", "--suite", tmp_path / "s.toml", "--suite-folder", tmp_path / "kept")
    assert done.status == 2
    assert sentence in done.err.lower() or sentence in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "nothing says what to measure"),
        (("x.bundle", "--suite", "classic"), "--suite brings its own bundles"),
        (("--suite", "modern"), "there is no suite 'modern'"),
        (("x.bundle", "--suite-folder", "x"), "--suite-folder needs --suite"),
        (("--suite", "classic", "--runtime", "abacus"), "there is no runtime abacus"),
        (("--suite", "classic", "--suite-folder", "/proc/x"), "/proc/x cannot be written"),
    ],
)
def test_what_is_asked_wrongly_is_a_sentence(pinnace, arguments: tuple[str, ...], sentence: str) -> None:
    done = pinnace("bench", *arguments)
    assert done.status == 2
    assert sentence in done.err
