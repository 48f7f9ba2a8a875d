"""The recipes of int8 and their race, on a small network with all that they change."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.export.exporter import Evidence
from pinnace.export.precision import (
    calibration,
    equalise,
    gptq,
    graphs,
    int8,
    qdq,
    race,
    sensitivity,
    sequential,
    squared_error,
)
from pinnace.export.precision.base import ConversionInput
from pinnace.export.precision.layers import layer_of
from pinnace.export.precision.recipes import all_recipes
from pinnace.export.precision.recipes.base import CalibratedNetwork, Recipe
from pinnace.export.precision.walk import Walk
from pinnace.models.errors import UsageError
from support.errors import refusal


def network() -> onnx.ModelProto:
    """Convolutions with a sum and a depthwise one between, a normalisation, and products behind it.

    The channels between the convolutions, and those of the normalisation, reach very differently far.
    """
    rng = np.random.default_rng(0)
    spread = np.geomspace(0.1, 5, 8).reshape(8, 1, 1, 1)
    weights = {
        "wa": rng.normal(size=(8, 3, 3, 3)) * spread, "ba": rng.normal(size=8) * spread.ravel(),
        "wd": rng.normal(size=(8, 1, 3, 3)), "bd": 0.1 * rng.normal(size=8),
        "wb": rng.normal(size=(16, 8, 1, 1)) / spread.reshape(1, 8, 1, 1),
        "bb": rng.normal(size=16),
        "gamma": np.geomspace(0.05, 4, 16), "beta": np.zeros(16), "wp": rng.normal(size=(16, 12)),
        "wy": rng.normal(size=(6, 12)), "by": rng.normal(size=6),
    }  # fmt: skip
    constants = {"low": np.float32(0), "high": np.float32(6), "axes": np.int64([2, 3]), "last": np.int64([2])}
    nodes = [
        helper.make_node("Conv", ["x", "wa", "ba"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "wd", "bd"], ["d"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Add", ["d", "r"], ["s"]),
        helper.make_node("Conv", ["s", "wb", "bb"], ["b"]),
        helper.make_node("Clip", ["b", "low", "high"], ["c"]),
        helper.make_node("Flatten", ["c"], ["unused"]),
        helper.make_node("ReduceMean", ["c", "axes"], ["m"], keepdims=0),
        helper.make_node("LayerNormalization", ["m", "gamma", "beta"], ["n"]),
        helper.make_node("MatMul", ["n", "wp"], ["p"]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", "wy", "by"], ["y"], transB=1),
    ]
    stored = [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in weights.items()]
    stored += [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if n != "last"]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6])
    nodes = [node for node in nodes if node.output[0] != "unused"]
    graph = helper.make_graph(nodes, "small", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    graphs.name_nodes(model)
    return model


def images(count: int, seed: int = 1) -> np.ndarray:
    """Soft colours with a little noise, shape (count, 3, 8, 8)."""
    rng = np.random.default_rng(seed)
    soft = rng.normal(size=(count, 3, 1, 1)) + 0.3 * rng.normal(size=(count, 3, 8, 1))
    return (soft + 0.1 * rng.normal(size=(count, 3, 8, 8))).astype(np.float32)


def prepared(*, symmetric: bool = False, fixed_batch: bool = False) -> CalibratedNetwork:
    base = network()
    material = ConversionInput(Path("none"), {}, "x", images(60), fixed_batch=fixed_batch)
    ranges = calibration.ranges_of(base, material)
    integers = gptq.round_weights(base, qdq.quantise(base, ranges, symmetric, ()), material)
    return CalibratedNetwork(base, ranges, material, symmetric, integers)


def error(base: onnx.ModelProto, model: onnx.ModelProto) -> float:
    seen = images(64, seed=9)
    return sensitivity.relative_error(
        sensitivity.answers(base, "x", seen), sensitivity.answers(model, "x", seen)
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_no_recipe_changes_a_node_and_equal_channels_come_closest(symmetric: bool) -> None:
    start = prepared(symmetric=symmetric)
    nearest = start.quantised()
    ops = sorted(node.op_type for node in nearest.graph.node)
    errors = {}
    for name, recipe in all_recipes().items():
        model = recipe.make(start)
        assert model is not None
        assert sorted(node.op_type for node in model.graph.node) == ops, name
        errors[name] = error(start.base, model)
    assert errors["equalised"] < min(errors["gptq"], error(start.base, nearest)) / 2  # made for it


@pytest.mark.parametrize("symmetric", [False, True])
def test_to_quantise_again_gives_what_quantising_gives(symmetric: bool) -> None:
    start = prepared(symmetric=symmetric)
    everything = qdq.quantise(start.base, start.ranges, symmetric, ())
    again = qdq.Requantiser(start.base, start.ranges, symmetric, everything)
    names = [node.name for node in start.base.graph.node]
    for left_out in ([], names[:2], names[2:5], names[-2:]):
        graph = qdq.quantise(start.base, start.ranges, symmetric, left_out)
        assert again(left_out).SerializeToString(deterministic=True) == graph.SerializeToString(
            deterministic=True
        )
    gptq.put(everything, start.integers)
    other = qdq.Requantiser(start.base, start.ranges, symmetric, everything)(names[-2:])
    gptq.put(graph, start.integers)
    assert other == graph


def test_a_layer_makes_up_for_what_goes_wrong_before_it() -> None:
    start = prepared()
    spoilt = start.quantised()
    (reader,) = [n for n in spoilt.graph.node if n.op_type == "Gemm"]
    spoilt.graph.initializer.append(numpy_helper.from_array(np.float32(2), "more"))
    spoilt.graph.node.append(helper.make_node("Add", [reader.input[0], "more"], ["moved"], name="moved"))
    reader.input[0] = "moved"
    graphs.sort_nodes(spoilt)
    mended = sequential.round_layers(start.base, spoilt, start.material)
    assert error(start.base, mended) < error(start.base, spoilt) / 4
    assert error(start.base, mended) < 2 * error(start.base, start.quantised())


def test_scaled_channels_answer_the_same_and_reach_equally_far() -> None:
    base = network()
    material = ConversionInput(Path("none"), {}, "x", images(24))
    scaled, groups = equalise.equalise(base, material)
    assert groups == 2  # from a to b, and behind the normalisation; the Clip's channels are left alone
    seen = images(40, seed=5)
    want, got = (sensitivity.answers(model, "x", seen) for model in (base, scaled))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)

    def reaches(model: onnx.ModelProto, name: str) -> np.ndarray:
        (values,) = graphs.run_tapped(model, [name], {"x": material.images[:4]})
        return np.abs(np.moveaxis(values[name], 1, 0)).reshape(values[name].shape[1], -1).max(axis=1)

    for name in ("r", "n"):
        before, after = (values[values > 0] for values in (reaches(base, name), reaches(scaled, name)))
        assert after.max() / after.min() < before.max() / before.min() / 4


def test_a_walk_gives_what_a_session_gives() -> None:
    start = prepared()
    model = start.quantised()
    graphs.sort_nodes(model)
    chunks = [images(4), images(4, seed=2)]
    for fewer in (chunks, [each[:1] for each in chunks]):
        walk = Walk(model, "x", fewer)
        seen = [node.op_type for node in walk]
        assert seen.count("Conv") == 3
        for chunk, got in zip(fewer, walk.results["y"], strict=True):
            (want,) = graphs.session(model, optimise=False).run(None, {"x": chunk})
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_the_last_layer_answers_as_it_should_in_the_mean() -> None:
    start = prepared(fixed_batch=True)
    seen = start.material.images[:: max(1, 60 // sequential.IMAGES)][: sequential.IMAGES]
    want = sensitivity.answers(start.base, "x", seen).mean(axis=0)
    model = sequential.round_layers(start.base, start.quantised(), start.material)
    off = np.abs(sensitivity.answers(model, "x", seen).mean(axis=0) - want)
    nearest = np.abs(sensitivity.answers(start.quantised(), "x", seen).mean(axis=0) - want)
    assert off.max() < nearest.max() / 4


@pytest.mark.parametrize("turned", [True, False])
def test_square_weights_are_stored_as_they_were(turned: bool) -> None:
    weights = np.arange(16.0).reshape(4, 4)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=int(not turned))
    layer = layer_of(node, weights, np.ones(4), "w")
    assert layer is not None
    np.testing.assert_array_equal(layer.as_stored(layer.weights), weights)


def test_a_range_is_narrowed_where_that_lessens_the_squared_error() -> None:
    flat = np.ones(2048)
    assert squared_error.narrow(-1.0, 3.0, flat) == (-1.0, 3.0)
    lone = np.exp(-np.linspace(0, 40, 2048)) * 1e6
    low, high = squared_error.narrow(0.0, 40.0, lone)
    assert low == 0
    assert high == pytest.approx(16)  # the narrowest that is tried
    assert squared_error.narrow(0.0, 0.0, flat) == (0.0, 0.0)


def test_whole_runs_of_neighbours_are_held_out() -> None:
    given = np.arange(120, dtype=np.float32).reshape(-1, 1)
    material = ConversionInput(Path("none"), {}, "x", given)
    seen, held = race.hold_out(material)
    assert held is not None
    assert seen.images is not None
    assert sorted([*seen.images.ravel(), *held.ravel()]) == list(range(120))
    assert held.ravel().tolist() == [*range(30, 40), *range(70, 80), *range(110, 120)]
    for spared in (dataclasses.replace(material, images=given[: race.FEWEST - 1]),
                   dataclasses.replace(material, recipe="gptq")):  # fmt: skip
        assert race.hold_out(spared) == (spared, None)


def test_the_best_recipe_wins_and_the_clock_ends_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    start = prepared()
    held = images(30, seed=4)

    def spoilt(by: float) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(start.base)
        (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "by"]
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32([by, *[0] * 5]), "by"))
        return model

    field = [
        Recipe("worse", 1, "", lambda network: spoilt(0.2)),
        Recipe("idle", 2, "", lambda network: None),
        Recipe("better", 3, "", lambda network: spoilt(0.1)),
        Recipe("late", 4, "", lambda network: spoilt(0.0)),
    ]
    monkeypatch.setattr(race, "all_recipes", lambda: {recipe.name: recipe for recipe in field})
    ticks = itertools.chain([0.0, 1.0, 2.0, race.SECONDS + 1], itertools.repeat(race.SECONDS + 2))
    model, found = race.run(start, held, clock=lambda: next(ticks))
    assert error(start.base, model) == pytest.approx(error(start.base, spoilt(0.1)))
    assert [score.recipe for score in found.race] == ["better", "worse", "idle", "late"]
    assert (found.recipe, found.held_out, found.images) == ("better", 30, 60)
    better, worse = found.race[:2]
    assert better.error == pytest.approx(worse.error / 4, rel=1e-3)
    assert better.interval[0] < better.error < better.interval[1]
    words = race.note("onnx-int8", found)
    assert words.startswith(
        "onnx-int8 was made by the recipe better, which came closest to fp32 on 30 images"
    )
    assert "late was not tried (600 s were over)" in words
    assert "idle was not tried (there is nothing that it could change)" in words


def test_a_race_is_run_by_the_conversion_and_its_scores_are_handed_on(tmp_path: Path) -> None:
    onnx.save(network(), str(tmp_path / "fp32.onnx"))
    given = ConversionInput(tmp_path / "fp32.onnx", {"x": images(3)}, "x", images(100), one_class=True)
    converted = int8.convert(given, tmp_path / "int8.onnx", symmetric=False)
    found = converted.quantisation
    assert found is not None
    assert {score.recipe for score in found.race} == set(all_recipes())
    assert found.race[0].recipe == found.recipe
    assert (found.images, found.held_out, found.measure) == (80, 20, "kl")
    assert converted.notes[-1] == race.note("int8", found)
    alone = int8.convert(
        dataclasses.replace(given, recipe="sequential"), tmp_path / "one.onnx", symmetric=False
    )
    assert (alone.quantisation.recipe, alone.quantisation.images, alone.quantisation.race) == (
        "sequential",
        100,
        (),
    )


def test_divergences_by_hand() -> None:
    reference = np.log(np.float32([[0.5, 0.5], [0.25, 0.75]]))
    answers = np.float32([[3.0, 3.0], [7.0, 7.0]])  # even, wherever the logits lie
    found = race.divergences(reference, answers)
    np.testing.assert_allclose(found, [0, 0.25 * np.log(0.5) + 0.75 * np.log(1.5)], atol=1e-6)


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    assert refusal(UsageError, lambda: Evidence(recipe="guess")) == (
        "there is no such int8 recipe\n"
        "  expected: one of auto, gptq, sequential, equalised, clipped\n"
        "  got: guess"
    )
