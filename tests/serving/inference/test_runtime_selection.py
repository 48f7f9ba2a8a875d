"""Of several runtimes that read one file, the fastest serves; all workers are told which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed
from pinnace.models.runtimes.openvino import OpenVino
from pinnace.serving.inference import runtime_selection
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.inference.runtime_selection import (
    VARIABLE,
    fastest_runtime,
    measure_milliseconds,
    select_runtimes,
    selected_runtime,
)
from pinnace.serving.settings import ServerSettings, load_settings

pytestmark = pytest.mark.skipif(
    OpenVino.unavailable_reason() is not None,
    reason="there is no choice without openvino, which is not installed",
)


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")


@pytest.fixture
def settings(bundle: Path) -> ServerSettings:
    return load_settings(bundle=bundle)


@pytest.mark.parametrize(
    ("times", "best"),
    [([10.0, 5.0], "openvino"), ([10.0, 9.2], "onnxruntime"), ([5.0, 10.0], "onnxruntime")],
    ids=["clearly faster", "hardly faster", "slower"],
)
def test_another_than_the_first_is_taken_where_it_is_clearly_faster(
    settings: ServerSettings, times: list[float], best: str
) -> None:
    asked: list[str] = []

    def timer(classifiers: Any) -> list[float]:
        asked.extend(classifier.runtime.name for classifier in classifiers)
        return times

    bundle = Bundle.open(settings.bundle[0])
    name, sentence = fastest_runtime(settings, plan(settings), bundle, timer) or ("", "")
    assert name == best
    assert sentence == (
        f"tiny runs in {best}; milliseconds of a call: onnxruntime {times[0]:.2f}, openvino {times[1]:.2f}"
    )
    assert asked == ["onnxruntime", "openvino"]


def test_one_that_answers_wrongly_is_left_out(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(classifier: Any) -> float:
        if classifier.runtime.name == "openvino":
            raise CheckFailed("wrong")
        return 0.0

    monkeypatch.setattr(runtime_selection, "self_check", check)
    bundle = Bundle.open(settings.bundle[0])
    assert fastest_runtime(settings, plan(settings), bundle, lambda _: [10.0, 1.0]) is None


def test_they_are_measured_for_real(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[list[float]] = []

    def timer(classifiers: Any) -> list[float]:
        measured.append(measure_milliseconds(classifiers))
        return measured[0]

    name, _ = fastest_runtime(settings, plan(settings), Bundle.open(settings.bundle[0]), timer) or ("", "")
    assert name in ("onnxruntime", "openvino")
    assert [0 < each < 1000 for each in measured[0]] == [True, True]


@pytest.mark.parametrize("asked", ["onnxruntime", "openvino"])
def test_what_is_asked_for_is_not_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(runtime_selection, "measure_milliseconds", lambda _: pytest.fail("measured"))
    settings = load_settings(bundle=bundle, runtime=asked)
    select_runtimes(settings, plan(settings))
    assert served(settings) == asked


def test_what_was_chosen_is_served(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_selection, "measure_milliseconds", lambda classifiers: [10.0, 5.0])
    assert served(settings) == "onnxruntime"
    select_runtimes(settings, plan(settings))
    assert served(settings) == "openvino"
    assert served(settings.model_copy(update={"runtime": "onnxruntime"})) == "onnxruntime"


def test_a_choice_that_no_longer_fits_the_bundle_is_forgotten(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(settings.bundle[0])
    monkeypatch.setenv(VARIABLE, json.dumps({str(bundle.folder): "torchscript"}))
    assert selected_runtime(settings, bundle) == (None, None)


def served(settings: ServerSettings) -> str:
    registry = Registry.open(settings, plan(settings))
    try:
        return registry.model().engine.classifier.runtime.name
    finally:
        registry.close()
