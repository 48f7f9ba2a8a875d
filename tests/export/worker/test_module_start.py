"""How an image enters a network of torch is seen, whether it is Python, TorchScript or a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torchvision import transforms
from torchvision.transforms import v2

from pinnace.export.request import ExportRequest
from pinnace.export.worker import image_input
from pinnace.export.worker.eager_model import told
from pinnace.export.worker.graph_start import GraphStart
from pinnace.export.worker.module_start import read
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.loaders.base import imagenet_preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = (24, 16)


class Turn(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 1, 2)


class Unit(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 255


class InPlace(torch.nn.Module):
    """Blue, green, red of red, green, blue, written channel by channel into memory of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.empty_like(x)
        for channel, (mean, std) in enumerate(((0.406, 0.225), (0.456, 0.224), (0.485, 0.229))):
            made[:, channel] = (x[:, 2 - channel] - mean) / std
        return made


def network(*before: torch.nn.Module, channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        *before,
        torch.nn.Conv2d(channels, 4, 3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    ).eval()


def normalise() -> torch.nn.Module:
    return transforms.Normalize(MEAN, STD)


def statistics() -> torch.nn.Module:
    layer = torch.nn.BatchNorm2d(3, affine=False)
    layer.running_mean, layer.running_var = 255 * torch.tensor(MEAN), (255 * torch.tensor(STD)) ** 2
    return layer


@pytest.mark.parametrize("form", ["eager", "script", "frozen"])
@pytest.mark.parametrize(
    ("make", "layout", "takes", "color"),
    [
        (network, "NCHW", "nothing", None),
        (lambda: network(normalise()), "NCHW", 1, "RGB"),
        (lambda: network(Unit()), "NCHW", 255, None),
        (lambda: network(statistics()), "NCHW", 255, "RGB"),
        (lambda: network(InPlace()), "NCHW", 1, "RGB"),
        (lambda: network(Turn()), "NHWC", "nothing", None),
        (lambda: network(Turn(), Unit(), normalise()), "NHWC", 255, "RGB"),
    ],
)
def test_what_happens_before_the_first_layer(
    form: str, make: Callable[[], torch.nn.Module], layout: str, takes: object, color: str | None
) -> None:
    module = make()
    if form != "eager":
        module = torch.jit.script(module)
    if form == "frozen":
        module = torch.jit.freeze(module)
    start = read(module, None, SIZE)
    assert start is not None
    assert (start.layout, start.channels, start.dtype) == (layout, 3, "float32")
    assert takes == ("nothing" if start.inside is None else start.inside.takes)
    assert color == (None if start.inside is None else start.inside.color)


def test_a_program_says_its_dimensions() -> None:
    module = network(Turn(), Unit())
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        module, (torch.zeros(2, 16, 24, 3),), dynamic_shapes=({"input": batch})
    ).module()
    start = read(program, (TensorSpec("input", "float32", (BATCH, 16, 24, 3)),), SIZE)
    assert start is not None
    assert start.inside is not None
    assert (start.layout, start.channels, start.inside.takes) == ("NHWC", 3, 255)


@pytest.mark.parametrize("turned", [False, True])
def test_grey_is_told_by_the_weights(turned: bool) -> None:
    start = read(network(*[Turn()] * turned, channels=1), None, SIZE)
    assert start == GraphStart("NHWC" if turned else "NCHW", 1, None, "float32", of_torch=True)


class Plane(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unsqueeze(1)


class Flat(torch.nn.Module):
    """Takes pixels of 0..255 as one row, and knows no channels."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(SIZE[0] * SIZE[1], 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, height, width = x.shape
        return self.line(x.reshape(images, height * width) / 255)


@pytest.mark.parametrize("form", ["eager", "script", "program"])
@pytest.mark.parametrize(("make", "takes"), [
    (lambda: network(Unit(), Plane(), channels=1), 255), (lambda: network(Plane(), channels=1), None),
    (lambda: Flat().eval(), 255),
])  # fmt: skip
def test_grey_without_a_dimension_for_channels(
    form: str, make: Callable[[], torch.nn.Module], takes: int | None
) -> None:
    module, specs = make(), None
    if form == "script":
        module = torch.jit.script(module)
    if form == "program":
        dims = ({0: torch.export.Dim("batch")},)
        module = torch.export.export(module, (torch.zeros(2, *SIZE),), dynamic_shapes=dims).module()
        specs = (TensorSpec("x", "float32", (BATCH, *SIZE)),)
    start = read(module, specs, SIZE)
    assert start is not None
    assert (start.layout, start.channels) == ("NHW", 1)
    assert takes == (None if start.inside is None else start.inside.takes)
    assert image_input.spec_of(start) == TensorSpec("input", "float32", (BATCH, "height", "width"))


def test_two_channels_are_no_batch_of_two_grey_images() -> None:
    assert read(network(channels=2), None, SIZE) is None


@pytest.mark.parametrize(
    "make",
    [lambda: v2.ToDtype(torch.float32, scale=True), lambda: transforms.ConvertImageDtype(torch.float32)],
)
def test_a_network_that_makes_floats_of_bytes_is_given_bytes(make: Callable[[], torch.nn.Module]) -> None:
    start = read(network(make(), normalise()), None, SIZE)
    assert start is not None
    assert start.inside is not None
    assert (start.dtype, start.inside.takes, start.inside.color) == ("uint8", 255, "RGB")


def test_nothing_is_said_of_what_cannot_be_seen() -> None:
    assert read(network(channels=4), None, SIZE) is None
    assert read(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, 2)), None, SIZE) is None
    assert read(network(), (TensorSpec("x", "float32", (BATCH, 8)),), SIZE) is None
    # A network that knows another layer after all is not stopped at what it makes of its own weights.
    assert read(torch.nn.AdaptiveAvgPool2d(1), None, SIZE) is None


def test_what_the_file_says_and_the_network_does_is_done_once() -> None:
    start = read(network(normalise()), None, SIZE)
    said = imagenet_preprocess(64)
    request = ExportRequest("file:net.pt", (), 18)
    preprocess, notes = image_input.decide(said, None, request, image_input.spec_of(start), start)
    assert (preprocess.mean, preprocess.std, preprocess.scale) == ((0, 0, 0), (1, 1, 1), 1 / 255)
    assert preprocess.crop == (64, 64)
    assert notes == (
        "the model begins with a normalisation of its own, (x - 0.485 0.456 0.406) / 0.229 0.224 0.225, so "
        "it is given pixels of 0..1 in RGB as they are",
    )
    # Another one that the file says is done, and told.
    other = replace(said, mean=(0.5,) * 3, std=(0.5,) * 3)
    preprocess, (note,) = image_input.decide(other, None, request, image_input.spec_of(start), start)
    assert preprocess.mean == other.mean
    assert note.endswith("normalised before it as well: --scale 1/255 --mean 0,0,0 --std 1,1,1")


def test_a_slow_model_says_how_often_it_has_answered() -> None:
    words: list[str] = []
    run = told(lambda feeds: feeds, words.append, every=0)
    assert run({}) == run({}) == {}
    assert words == ["1 answer so far", "2 answers so far"]
    told(lambda feeds: feeds, words.append, every=3600)({})
    assert len(words) == 2
