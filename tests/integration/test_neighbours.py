"""The example of nearest neighbours, as its page types it, against eager torch."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.image.decode import open_image
from pinnace.models.photographs import photographs
from support.command_line import PINNACE

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "neighbours"
SKLEARN = Path(sklearn.datasets.__file__).parent / "images"


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The reader's folder after the commands of the page, and what the last of them printed."""
    home = tmp_path_factory.mktemp("reader") / "neighbours"
    shutil.copytree(EXAMPLE, home, ignore=shutil.ignore_patterns("__pycache__"))
    (home / "photographs").mkdir()
    for image in (*photographs(), SKLEARN / "china.jpg", SKLEARN / "flower.jpg"):
        shutil.copy(image, home / "photographs")
    shutil.copy(SKLEARN / "china.jpg", home / "query.jpg")
    (page,) = re.findall(r"```sh\n(.*?)```", (home / "README.md").read_text(), re.DOTALL)
    printed = ""
    for line in page.splitlines():
        words = shlex.split(line)
        command = {"python": [sys.executable], "pinnace": PINNACE}[words[0]] + words[1:]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        printed = done.stdout
    return home, printed


def test_the_image_itself_is_its_nearest_neighbour(typed: tuple[Path, str]) -> None:
    _, printed = typed
    first, second, *others = printed.splitlines()
    assert first == "query.jpg"
    assert second == "  1.0000  photographs/china.jpg"
    assert len(others) == 4
    cosines = [float(line.split()[0]) for line in (second, *others)]
    assert cosines == sorted(cosines, reverse=True)


def test_the_vectors_are_those_of_the_eager_network(
    typed: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = typed
    network = runpy.run_path(str(home / "network.py"))["build"]()
    network.load_state_dict(torch.load(home / "weights.pt"))
    network.eval()
    bundle = Bundle.open(home / "embedder.bundle")
    assert bundle.outputs.meaning == "embedding"
    assert bundle.outputs.normalised is False
    names = (home / "index.names.txt").read_text().splitlines()
    inputs = np.stack([bundle.preprocess.apply(open_image(home / name)) for name in names])
    with torch.inference_mode():
        eager = network(torch.from_numpy(inputs)).numpy()
    vectors = np.load(home / "index.npy")
    norms = np.linalg.norm(eager, axis=1) * np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose((eager * vectors).sum(axis=1) / norms, 1, atol=1e-5)


def test_neighbours_are_those_of_a_full_sort() -> None:
    module = runpy.run_path(str(EXAMPLE / "neighbours.py"))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:7]
    want = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :9]
    module["nearest"].__globals__["BLOCK"] = 64
    rows, cosines = module["nearest"](vectors, queries, 9)
    np.testing.assert_array_equal(rows, want)
    np.testing.assert_allclose(cosines, np.take_along_axis(queries @ vectors.T, want, 1), rtol=1e-5)
