"""The window of a resize against Pillow itself: resize the whole, then crop."""

from __future__ import annotations

import importlib.util
import random
import sys
import types
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pinnace.models.image
from pinnace.models.image import resample
from pinnace.models.image.filters import Interpolation
from pinnace.models.image.resample import Window, resize_window

FILTERS = get_args(Interpolation)


def noise(height: int, width: int, mode: str = "RGB", seed: int = 0, extremes: bool = False) -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(np.where(values > 127, 255, 0).astype(np.uint8) if extremes else values)


def by_pillow(image: Image.Image, size: tuple[int, int], window: Window, name: str) -> np.ndarray:
    whole = image.resize(size[::-1], Image.Resampling[name.upper()])
    array = np.asarray(whole).reshape(*size, -1)
    return array[window.top : window.top + window.height, window.left : window.left + window.width]


def one_filter_and_window(data: st.DataObject, size: tuple[int, int]) -> tuple[str, Window]:
    top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    return data.draw(st.sampled_from(FILTERS)), Window(top, left, height, width)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    source=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    mode=st.sampled_from(["RGB", "L"]),
    extremes=st.booleans(),
)
def test_the_window_alone_is_pillows_to_the_bit(
    data: st.DataObject, source: tuple[int, int], size: tuple[int, int], mode: str, extremes: bool
) -> None:
    name, window = one_filter_and_window(data, size)
    image = noise(*source, mode=mode, extremes=extremes)
    alone = resample._window_alone(image, size, window, name)
    np.testing.assert_array_equal(alone, by_pillow(image, size, window, name))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (300, 7)),
        ((17, 1), (1, 17)),
        ((300, 3), (2, 91)),
        ((3, 300), (91, 2)),
        ((901, 2), (90, 47)),
        ((5, 1000), (5, 33)),
        ((1000, 5), (33, 5)),
        ((40, 30), (80, 60)),
        ((100, 60), (40, 36)),
        ((100, 60), (40, 30)),
        ((100, 60), (39, 30)),
        ((100, 60), (99, 60)),
        ((80, 60), (40, 30)),
    ],
)
def test_both_orders_of_the_passes(source: tuple[int, int], size: tuple[int, int], name: str) -> None:
    image, window = noise(*source), Window(0, 0, *size)
    alone = resample._window_alone(image, size, window, name)
    np.testing.assert_array_equal(alone, by_pillow(image, size, window, name))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [(1201, 1303), (200, 1303)])
def test_a_million_pixels_show_the_last_bit_of_a_weight(size: tuple[int, int], name: str) -> None:
    image, window = noise(211, 307), Window(0, 0, *size)
    alone = resample._window_alone(image, size, window, name)
    np.testing.assert_array_equal(alone, by_pillow(image, size, window, name))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("source", [(1, 400), (400, 1), (2, 999), (999, 2), (3, 500)])
def test_an_extreme_shape_takes_the_window_alone_and_equals_the_whole(
    source: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(*source)
    size = (64 * source[0] // min(source), 64 * source[1] // min(source))
    window = Window((size[0] - 56) // 2, (size[1] - 56) // 2, 56, 56)
    expected = by_pillow(image, size, window, name)
    monkeypatch.setattr(Image.Image, "resize", None)
    monkeypatch.setattr(resample, "_FREE_PIXELS", 0)
    np.testing.assert_array_equal(resize_window(image, size, window, name), expected)


def test_blocks_of_columns_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_BLOCK_PIXELS", 500)
    for source, size in [((90, 40), (300, 200)), ((90, 40), (30, 200))]:
        image, window = noise(*source), Window(3, 5, size[0] - 3, 190)
        alone = resample._window_alone(image, size, window, "bicubic")
        np.testing.assert_array_equal(alone, by_pillow(image, size, window, "bicubic"))


def test_the_result_is_writable_and_contiguous() -> None:
    image = noise(40, 30)
    for size in ((40, 30), (20, 15)):
        result = resize_window(image, size, Window(1, 2, 9, 8), "bilinear")
        assert result.flags.c_contiguous
        assert result.flags.writeable
    assert not np.shares_memory(
        resize_window(image, (40, 30), Window(0, 0, 40, 30), "box"), np.asarray(image)
    )


def test_additions_by_leaps_round_as_additions_one_by_one() -> None:
    chance = random.Random(0)
    for _ in range(400):
        step = chance.choice(
            [
                chance.randint(1, 10**6) / chance.randint(1, 10**6),
                chance.choice([1, 3, 5, 7]) * 2.0 ** -chance.randint(0, 3)
                + chance.choice([0, 1, 2, 3]) * 2.0**-51,
            ]
        )
        times = chance.randint(0, 30_000)
        one_by_one = np.add.accumulate(np.r_[step * 0.5, np.full(times, step)])[-1]
        assert resample._add_repeatedly(step * 0.5, step, times) == one_by_one, (step, times)


def test_a_float32_box_is_not_pillows_whole_resize() -> None:
    """Why the window is not left to `resize(box=...)`: it may differ, and does."""
    differing = 0
    for seed in range(20):
        image = noise(61, 47, seed=seed)
        size, window = (997, 769), Window(386, 272, 224, 224)
        box = tuple(
            edge * image.width / 769 if at % 2 == 0 else edge * image.height / 997
            for at, edge in enumerate((272, 386, 272 + 224, 386 + 224))
        )
        boxed = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box=box))
        differing += int((boxed != by_pillow(image, size, window, "bicubic")).any())
    assert differing > 0


needs_compiled = pytest.mark.skipif(
    resample._window is None,
    reason="the compiled resize was not built: PINNACE_EXTENSION=1 pip install -e .",
)


@needs_compiled
@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    source=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    extremes=st.booleans(),
)
def test_the_compiled_window_is_pillows_to_the_bit(
    data: st.DataObject, source: tuple[int, int], size: tuple[int, int], extremes: bool
) -> None:
    name, window = one_filter_and_window(data, size)
    image = noise(*source, extremes=extremes)
    compiled = resample._compiled(image, size, window, name)
    assert (compiled is not None) == (name in ("bilinear", "bicubic"))
    if compiled is not None:
        assert compiled.flags.writeable
        assert compiled.flags.c_contiguous
        np.testing.assert_array_equal(compiled, by_pillow(image, size, window, name))
        np.testing.assert_array_equal(compiled, resample._window_alone(image, size, window, name))


@needs_compiled
@settings(max_examples=50, deadline=None)
@given(
    source=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_the_compiled_window_looks_up_each_value(
    source: tuple[int, int], size: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    name, window = one_filter_and_window(data, size)
    image = noise(*source)
    table = np.random.default_rng(seed).normal(size=(3, 256)).astype(np.float32)
    found = resample.resize_and_look_up(image, size, window, name, table.tobytes())
    usable = name in ("bilinear", "bicubic") and image.size != size[::-1]
    assert (found is not None) == usable
    if found is not None:
        values = resize_window(image, size, window, name)
        expected = np.stack([table[channel][values[..., channel]] for channel in range(3)])
        np.testing.assert_array_equal(found, expected, strict=True)


@needs_compiled
def test_a_table_of_another_size_is_refused() -> None:
    _, array = noise(10, 10).__arrow_c_array__()
    with pytest.raises(ValueError, match="a table has 3 x 256 numbers"):
        resample._window.resize(array, (10, 10), (5, 5), (0, 0, 5, 5), True, False, bytes(3071))


def test_a_module_of_an_older_source_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    older = types.ModuleType("pinnace.models.image._window")
    monkeypatch.setitem(sys.modules, "pinnace.models.image._window", older)
    monkeypatch.setattr(pinnace.models.image, "_window", older, raising=False)
    spec = importlib.util.find_spec("pinnace.models.image.resample")
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert fresh._window is None


@needs_compiled
@pytest.mark.parametrize("shape", [(20_000, 20), (20, 20_000)])
def test_the_compiled_window_of_long_images(shape: tuple[int, int]) -> None:
    image, window = noise(*shape), Window(1, 1, 100, 100)
    for name in ("bilinear", "bicubic"):
        compiled = resample._compiled(image, (128, 128), window, name)
        np.testing.assert_array_equal(compiled, by_pillow(image, (128, 128), window, name))


@needs_compiled
@pytest.mark.parametrize(
    ("in_size", "window"),
    [((10, 11), (0, 0, 5, 5)), ((10, 10), (1, 0, 5, 5)), ((10, 10), (0, -1, 5, 5)), ((10, 10), (0, 0, 0, 5))],
)
def test_the_compiled_window_reads_nothing_outside(in_size: tuple[int, int], window: tuple[int, ...]) -> None:
    _, array = noise(10, 10).__arrow_c_array__()
    with pytest.raises(ValueError, match="no RGB image of this size, or no window of it"):
        resample._window.resize(array, in_size, (5, 5), window, True, False)


def test_images_that_the_compiled_window_is_not_for() -> None:
    window = Window(0, 0, 4, 4)
    assert resample._compiled(noise(9, 9, mode="L"), (5, 5), window, "bicubic") is None
    assert resample._compiled(noise(9, 9), (5, 5), window, "lanczos") is None
    assert resample._compiled(noise(60_000, 1), (256, 256), Window(0, 0, 224, 224), "bicubic") is None
    in_pieces = Image.new("RGB", (3000, 2000))  # 24 MB; Pillow's pieces are of 16
    assert resample._compiled(in_pieces, (300, 300), window, "bicubic") is None
