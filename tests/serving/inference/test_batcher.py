"""Images that wait for the model go to it together; each still gets its own answer, or its own error."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinnace.models.classifier import Classifier
from pinnace.models.errors import ImageError, UsageError
from pinnace.serving.http.request_body import Upload
from pinnace.serving.inference.batcher import Batcher, max_batch_size
from pinnace.serving.inference.engine import InferenceEngine
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import ServerSettings, load_settings
from support.tiny_bundle import encode

RED, GREEN, BLUE = (250, 10, 20), (10, 250, 20), (10, 20, 250)


class Model:
    """Answers each row with itself; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, batch: Any) -> Any:
        self.batches.append(batch[:, 0].tolist())
        self.entered.set()
        assert self.go.wait(10)
        if np.isnan(batch).any():
            raise UsageError("not a number")
        return batch * 2


def image(value: float) -> Any:
    return np.full((1, 3), value, np.float32)


def ask(batcher: Batcher, model: Model, values: list[float]) -> list[Any]:
    """What becomes of the values, of which all but the first wait while the first is computed."""

    def one(value: float) -> Any:
        try:
            return batcher(image(value)).tolist()
        except UsageError as error:
            return error

    with ThreadPoolExecutor(len(values)) as pool:
        futures = [pool.submit(one, values[0])]
        assert model.entered.wait(10)
        for number, value in enumerate(values[1:], 1):
            futures.append(pool.submit(one, value))
            while len(batcher._waiting) < number:  # in this order
                time.sleep(0.001)
        model.go.set()
        return [future.result(10) for future in futures]


def test_what_waits_goes_together_in_powers_of_two() -> None:
    model = Model()
    batcher = Batcher(model, 6)
    values = [float(value) for value in range(1, 10)]
    assert ask(batcher, model, values) == [[2 * value] * 3 for value in values]
    assert model.batches == [[1], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert batcher.sizes() == [1, 2, 4]


def test_one_at_a_time_where_no_more_are_wanted() -> None:
    model = Model()
    assert ask(Batcher(model, 1), model, [1, 2, 3]) == [[2] * 3, [4] * 3, [6] * 3]
    assert model.batches == [[1], [2], [3]]


def test_an_image_that_the_model_refuses_spoils_no_other() -> None:
    model = Model()
    good, other, bad, third, last = ask(Batcher(model, 4), model, [1, 2, float("nan"), 4, 5])
    assert (good, other, third, last) == ([2] * 3, [4] * 3, [8] * 3, [10] * 3)
    assert isinstance(bad, UsageError)
    assert [len(batch) for batch in model.batches] == [1, 4, 1, 1, 1, 1]


def test_a_model_goes_on_after_an_error() -> None:
    model = Model()
    model.go.set()
    batcher = Batcher(model, 4)
    with pytest.raises(UsageError, match="not a number"):
        batcher(image(float("nan")))
    assert batcher(image(3)).tolist() == [6] * 3


def test_served_images_go_to_the_model_together(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real runtime; what each asked for, and what was wrong with one, stays its own."""
    settings = load_settings(bundle=bundle, concurrency=8, max_batch=4)
    registry = Registry.open(settings, plan(settings))
    infer, sizes = Classifier.infer, []

    def slow(self: Classifier, batch: Any) -> Any:
        sizes.append(len(batch))
        time.sleep(0.2)
        return infer(self, batch)

    monkeypatch.setattr(Classifier, "infer", slow)
    uploads = [Upload(encode(colour), k) for k in (1, 3) for colour in (RED, GREEN, BLUE)]
    uploads.insert(2, Upload(b"\xff\xd8\xff nothing", None))

    async def many() -> list[Any]:
        asked = (registry.model().classify(upload) for upload in uploads)
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(many())
    registry.close()
    assert isinstance(answers.pop(2), ImageError)
    assert [answer.predictions[0].label for answer in answers] == 2 * ["reddish", "greenish", "bluish"]
    assert [len(answer.predictions) for answer in answers] == [1, 1, 1, 3, 3, 3]
    assert sum(sizes) == 6
    assert max(sizes) > 1


def test_on_a_cpu_each_image_has_its_own_call(bundle: Path) -> None:
    for settings, most in (({}, 1), ({"max_batch": 8}, 8)):
        given = load_settings(bundle=bundle, **settings)
        registry = Registry.open(given, plan(given))
        engine: InferenceEngine = registry.model().engine
        assert max_batch_size(engine.classifier, load_settings(bundle=bundle, **settings)) == most
        registry.close()


def test_a_gpu_has_batches_within_what_its_engine_takes(bundle: Path) -> None:
    class OnGpu:
        device = "cuda"

    class Engines:
        batch = (1, 4)

    settings = ServerSettings(bundle=(bundle,))
    registry = Registry.open(settings, plan(settings))
    classifier = registry.model().engine.classifier
    fake: Any = type(
        "Fake", (), {"runtime": OnGpu, "bundle": classifier.bundle, "variant": classifier.variant}
    )
    assert max_batch_size(fake, settings) == 16
    fake.variant = type("Variant", (), {"engine": Engines})
    assert max_batch_size(fake, settings) == 4
    registry.close()
