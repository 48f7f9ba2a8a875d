"""Darknet's YOLO networks: as large as the published files, as much work as the published figures say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pinnace.models.errors import CheckFailed, SourceError, UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders import load, parse_source
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.networks.darknet import NETWORKS
from pinnace.models.networks.layers import Conv, Detect, build, numbers, shapes
from support.errors import refusal

# Channels and stride of each output, as Darknet prints them for an image of 416 pixels.
OUTPUTS = {
    "yolov2-tiny-voc": {"stride_32": (125, 13, 13)},
    "yolov2-tiny": {"stride_32": (425, 13, 13)},
    "yolov3-tiny": {"stride_32": (255, 13, 13), "stride_16": (255, 26, 26)},
    "yolov3": {"stride_32": (255, 13, 13), "stride_16": (255, 26, 26), "stride_8": (255, 52, 52)},
}
# Billions of operations for one image of 416 pixels, as Darknet itself prints them.
PUBLISHED_BFLOPS = {"yolov2-tiny-voc": 6.97, "yolov2-tiny": 5.41, "yolov3-tiny": 5.56, "yolov3": 65.86}


def load_darknet(text: str, **options: object) -> LoadedModel:
    loaded = load(LoadRequest(parse_source(f"darknet:{text}"), **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_as_many_numbers_as_its_published_weights(name: str) -> None:
    network = NETWORKS[name]
    table = network.table(network.classes)
    published = (network.weights_bytes - network.header_bytes) / 4
    with torch.device("meta"):
        state = build(table).state_dict()
    built = sum(t.numel() for key, t in state.items() if not key.endswith("num_batches_tracked"))
    assert built == numbers(table) == published


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_work_are_the_published_ones(name: str) -> None:
    network = NETWORKS[name]
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        answers = build(network.table(network.classes)).eval()(torch.empty(2, 3, 416, 416))
    assert {key: tuple(value.shape[1:]) for key, value in answers.items()} == OUTPUTS[name]
    assert counter.get_total_flops() / 2e9 == pytest.approx(PUBLISHED_BFLOPS[name], abs=0.005)


def test_a_network_answers_alike_whatever_its_neighbours_in_the_batch() -> None:
    loaded = load_darknet("yolov3-tiny@none", num_classes=1)
    assert loaded.preprocess == Preprocess((416, 416), "bilinear", None, "RGB", (0.0,) * 3, (1.0,) * 3)
    assert loaded.notes == ("yolov3-tiny was exported with random weights",)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        both, one = loaded.module(images), loaded.module(images[:1])
    assert {name: tuple(t.shape) for name, t in both.items()} == {
        "stride_32": (2, 18, 2, 2),
        "stride_16": (2, 18, 4, 4),
    }
    for name, answer in one.items():
        torch.testing.assert_close(both[name][:1], answer, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_an_untrained_network_answers_fits_into_float16() -> None:
    with torch.inference_mode():
        answers = load_darknet("yolov3@none").module(8 * torch.randn(1, 3, 96, 96))
    assert all(1 < answer.abs().max() < 30_000 for answer in answers.values())


def darknet_file(path: Path, table: tuple[object, ...], seed: int = 5) -> list[list[np.ndarray]]:
    """Write what Darknet would write, and return it: biases, factors, means, variances and weights each."""
    rng, written, before = np.random.default_rng(seed), [], 3
    for layer, (width, _) in zip(table, shapes(table), strict=True):  # type: ignore[arg-type]
        if isinstance(layer, Conv):
            rows = [rng.normal(size=width)]
            if not layer.linear:
                rows += [rng.uniform(0.5, 1, width), rng.normal(size=width), rng.uniform(0.5, 2, width)]
            rows.append(rng.normal(size=(width, before, layer.size, layer.size)) / before)
            written.append([row.astype("<f4") for row in rows])
        before = width
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([64], "<u8").tobytes()
    path.write_bytes(header + b"".join(row.tobytes() for rows in written for row in rows))
    return written


@pytest.mark.slow
def test_weights_of_a_file_are_where_darknet_has_them(tmp_path: Path) -> None:
    table = NETWORKS["yolov2-tiny-voc"].table(1)
    written = darknet_file(tmp_path / "own.weights", table)
    loaded = load_darknet("yolov2-tiny-voc@own.weights", num_classes=1, folder=str(tmp_path))
    assert loaded.notes == ()
    image = torch.rand(1, 3, 64, 64)
    # The layers once more, by Darknet's own formulas, straight from what was written.
    now, convolutions = image, iter(written)
    for layer in table:
        if isinstance(layer, Conv):
            bias, *norm, weight = map(torch.from_numpy, next(convolutions))
            column = bias[:, None, None]
            now = functional.conv2d(now, weight, padding=layer.size // 2)
            if norm:
                factor, mean, variance = (row[:, None, None] for row in norm)
                now = (now - mean) / torch.sqrt(variance + 0.00001) * factor + column
                now = torch.where(now > 0, now, 0.1 * now)
            else:
                now = now + column
        elif not isinstance(layer, Detect):
            size, cut = now.shape[-1], layer.stride == 1  # type: ignore[union-attr]
            padded = functional.pad(now, (0, 1, 0, 1), value=-torch.inf) if cut else now
            now = functional.max_pool2d(padded, 2, layer.stride)  # type: ignore[union-attr]
            assert now.shape[-1] == (size if cut else size // 2)
    with torch.inference_mode():
        answer = loaded.module(image)["stride_32"]
    torch.testing.assert_close(answer, now, rtol=1e-4, atol=1e-4)


def test_a_route_takes_the_layers_that_the_published_table_names() -> None:
    tiny = NETWORKS["yolov3-tiny"].table(80)
    assert [tiny[i] for i in (8, 13, 15)] == [Conv(256), Conv(256, 1), Conv(255, 1, linear=True)]
    large = NETWORKS["yolov3"].table(80)
    widths = shapes(large)
    assert [widths[i] for i in (36, 61, 79, 91)] == [(256, 8), (512, 16), (512, 32), (256, 16)]
    assert [index for index, layer in enumerate(large) if isinstance(layer, Detect)] == [82, 94, 106]


@pytest.mark.slow
def test_files_that_do_not_fit(tmp_path: Path) -> None:
    folder, path = str(tmp_path), tmp_path / "w.weights"
    source = "yolov2-tiny-voc@w.weights"
    assert refusal(SourceError, load_darknet, source, folder=folder) == f"there is no file {path}"
    path.write_bytes(b"abc")
    assert "too short" in refusal(SourceError, load_darknet, source, folder=folder)
    path.write_bytes(b"GIF89a..........")
    assert "its version is out of range" in refusal(SourceError, load_darknet, source, folder=folder)
    darknet_file(path, NETWORKS["yolov2-tiny-voc"].table(2))
    assert refusal(SourceError, load_darknet, source, folder=folder) == (
        f"{path} does not fit the network\n"
        "  expected: 15867885 numbers\n"
        f"  got: {numbers(NETWORKS['yolov2-tiny-voc'].table(2))}\n"
        "  help: check the network's name and --num-classes"
    )
    path.write_bytes(path.read_bytes()[:-2])
    assert "it is cut off" in refusal(SourceError, load_darknet, source, folder=folder, num_classes=2)
    path.write_bytes(path.read_bytes()[:-2] + np.float32(np.nan).tobytes())
    assert "not finite" in refusal(CheckFailed, load_darknet, source, folder=folder, num_classes=2)


def test_sources_that_do_not_say_enough_or_too_much() -> None:
    assert "one of yolov2-tiny-voc, yolov2-tiny, yolov3-tiny, yolov3" in refusal(
        UsageError, load_darknet, "yolov9@none"
    )
    assert refusal(UsageError, load_darknet, "yolov3") == (
        "darknet:yolov3 does not say which weights, and none are downloaded\n"
        "  expected: darknet:yolov3@PATH, a file that Darknet wrote, or darknet:yolov3@none"
    )
    assert "--arch does not apply" in refusal(UsageError, load_darknet, "yolov3@none", arch="x:y")
    assert "--arg width does not apply" in refusal(
        UsageError, load_darknet, "yolov3@none", arguments={"width": 2}
    )
    assert "not a number of classes" in refusal(
        UsageError, load_darknet, "yolov3@none", arguments={"num_classes": "x"}
    )
