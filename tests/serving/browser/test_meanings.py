"""Several labels with a threshold, vectors with their neighbours, and a camera that runs."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pinnace.models.bundle.outputs import Outputs
from support.command_line import PINNACE
from support.tiny_bundle import LABELS, build_bundle, logits_of

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
Picture = Callable[..., dict[str, Any]]

RED, PINK, GREEN = (240, 20, 30), (240, 60, 70), (20, 240, 30)


@pytest.fixture(scope="module")
def kinds(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server of a model of several labels, and of two that embed."""
    folder = tmp_path_factory.mktemp("kinds")
    tags = Outputs("sigmoid", "logits", "sigmoid", len(LABELS), threshold=0.4)
    vectors = Outputs("embedding", "logits", normalised=False)
    bundles = [
        str(build_bundle(folder / f"{name}.bundle", name=name, outputs=outputs))
        for name, outputs in (("tags", tags), ("vectors", vectors), ("more vectors", vectors))
    ]
    server = start_server([*PINNACE, "serve", *bundles], workers=1, concurrency=2)
    server.wait_until_ready()
    return str(server.url)


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_the_threshold_is_moved_from_the_keyboard(
    visit: Visit, kinds: str, picture: Picture, size: str, scheme: str
) -> None:
    here = visit(size, scheme, go=False)
    here.load(kinds)
    here.choose(picture(RED))
    here.wait_for_answer()
    page = here.page
    scores = 1 / (1 + np.exp(-logits_of(RED).astype(np.float64)))

    def reached(threshold: float) -> str:
        ranked = sorted(zip(LABELS, scores, strict=True), key=lambda one: -one[1])
        return ", ".join(label for label, score in ranked if score >= threshold) or "No label"

    slider = page.get_by_role("slider", name="A label counts from")
    assert slider.input_value() == "0.4"
    assert page.locator("#status").inner_text() == f"{reached(0.4)}: 40.0% or more"
    here.check_looks()
    # While it moves, nobody is asked.
    slider.evaluate("slider => { slider.value = 0.7; slider.dispatchEvent(new Event('input')); }")
    assert page.locator("#status").inner_text() == f"{reached(0.7)}: 70.0% or more"
    assert page.locator("#threshold-value").inner_text() == "70.0%"
    assert page.locator("#predictions .reached").count() == sum(scores >= 0.7)
    slider.focus()
    with page.expect_request("**/classify?threshold=0.01") as asked:
        page.keyboard.press("Home")  # to 0
        page.keyboard.press("ArrowRight")
    assert asked.value.method == "POST"
    here.wait_for_text("#status", f"{reached(0.01)}: 1.0% or more")
    assert page.evaluate("document.activeElement.id") == "threshold"
    assert len(page.locator("#predictions .reached").all()) == sum(scores >= 0.01)
    page.keyboard.press("End")
    here.wait_for_text("#status", "No label: 100.0% or more")
    page.get_by_role("button", name="From code").click()
    assert "threshold=1" in page.locator("#code-text").inner_text()


def test_the_nearest_of_the_pictures_so_far(visit: Visit, kinds: str, picture: Picture) -> None:
    here = visit("narrow", go=False)
    here.load(kinds)
    page = here.page
    page.get_by_label("Model", exact=True).select_option("vectors")
    here.choose(picture(GREEN, "green.png"))
    here.wait_for_answer()
    assert page.locator("#nearest-none").is_visible()
    page.set_input_files("#pick", [picture(RED, "red.png"), picture(PINK, "pink.png")])
    here.wait_for_text("#many-done", "2 answered, 0 not.")
    for name in ("pink.png", "red.png"):  # one that is seen again is there once
        page.get_by_role("button", name=re.compile(name)).click()
        here.wait_for_text("#preview-name", name)
        here.wait_for_answer()
    nearest = page.get_by_role("list", name="The nearest of the pictures so far, by cosine")
    lines = [line.split("\n") for line in nearest.get_by_role("listitem").all_inner_texts()]

    def cosine(other: tuple[int, int, int]) -> float:
        a, b = (logits_of(one).astype(np.float64) for one in (RED, other))
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert [line[0] for line in lines] == ["pink.png", "green.png"]
    nearest.locator("img").first.evaluate("image => image.decode()")  # the small copy
    assert [float(line[-1]) for line in lines] == pytest.approx([cosine(PINK), cosine(GREEN)], abs=6e-4)
    assert page.get_by_role("button", name="Why?").count() == 0
    here.check_looks()


def neighbours(page: Any) -> list[str]:
    return [line.split("\n")[0] for line in page.locator("#nearest-list li").all_inner_texts()]


def test_vectors_of_two_models_are_never_compared(visit: Visit, kinds: str, picture: Picture) -> None:
    here = visit(go=False)
    here.load(kinds)
    page = here.page
    model = page.get_by_label("Model", exact=True)
    model.select_option("vectors")
    for name, colour in (("red.png", RED), ("pink.png", PINK)):
        here.choose(picture(colour, name))
        here.wait_for_text("#preview-name", name)
        here.wait_for_answer()
    assert neighbours(page) == ["red.png"]
    model.select_option("more vectors")
    here.wait_for_text("#answer-model", "more vectors")
    page.locator("#nearest-none").wait_for()
    assert neighbours(page) == []
    here.choose(picture(GREEN, "green.png"))
    here.wait_for_text("#preview-name", "green.png")
    here.wait_for_answer()
    assert neighbours(page) == ["pink.png"]


def test_nor_are_those_of_two_versions_of_a_model(
    visit: Visit, start_server: Any, picture: Picture, tmp_path: Path
) -> None:
    vectors = Outputs("embedding", "logits", normalised=False)
    bundle = build_bundle(tmp_path / "vectors.bundle", outputs=vectors)
    server = start_server([*PINNACE, "serve", str(bundle)], workers=1, concurrency=2)
    server.wait_until_ready()
    here = visit(go=False)
    here.load(server.url)
    for name in ("red.png", "pink.png"):
        here.choose(picture(RED, name))
        here.wait_for_text("#preview-name", name)
        here.wait_for_answer()
    assert neighbours(here.page) == ["red.png"]
    shutil.rmtree(bundle)
    build_bundle(bundle, outputs=vectors, created="2026-01-02T00:00:00Z")
    before = httpx.get(f"{server.url}/models").json()
    server.process.send_signal(signal.SIGHUP)
    while httpx.get(f"{server.url}/models").json() == before:
        here.page.wait_for_timeout(50)
    here.choose(picture(GREEN, "green.png"))
    here.wait_for_text("#preview-name", "green.png")
    here.wait_for_answer()
    assert neighbours(here.page) == []


def test_a_camera_runs_until_it_is_stopped(visit: Visit, url: str) -> None:
    here = visit("narrow", go=False)
    here.load(url)
    page = here.page
    button = page.get_by_role("button", name="Run the camera")
    with page.expect_request("**/classify?top_k=5"):
        button.click()
    page.locator("#rate", has_text=re.compile(r"^[\d.]+ frames a second$")).wait_for()
    assert len(here.shown()) == 5
    assert page.locator("#video").evaluate("video => video.videoWidth") > 0
    assert page.locator("#status").get_attribute("aria-live") == "off"
    page.evaluate("window.track = video.srcObject.getTracks()[0]")
    here.check_looks()
    stop = page.get_by_role("button", name="Stop the camera")
    stop.focus()
    page.keyboard.press("Enter")
    button.wait_for()
    assert page.locator("#live").is_hidden()
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    assert page.evaluate("window.track.readyState") == "ended"
    asked: list[str] = []
    page.wait_for_timeout(300)  # for the answer that was on its way
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(500)
    assert asked == []


HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
}"""


def test_the_camera_pauses_while_the_page_is_hidden(visit: Visit) -> None:
    """A browser without a window hides no tab, so the page is told that it is."""
    here = visit()
    page = here.page
    page.get_by_role("button", name="Run the camera").click()
    page.locator("#rate:not(:empty)").wait_for()
    page.evaluate(HIDE, True)
    page.wait_for_timeout(500)  # for the picture that was on its way
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(700)
    assert asked == []
    assert page.locator("#live").is_visible()
    with page.expect_request("**/classify*"):
        page.evaluate(HIDE, False)
    page.evaluate(HIDE, True)
    page.get_by_role("button", name="Stop the camera").click()
    page.evaluate(HIDE, False)
    asked.clear()
    page.wait_for_timeout(500)
    assert asked == []


def test_a_picture_takes_the_place_of_the_camera(visit: Visit, picture: Picture, red_bars: Any) -> None:
    here = visit()
    here.page.get_by_role("button", name="Run the camera").click()
    here.page.locator("#rate:not(:empty)").wait_for()
    here.choose(picture())
    here.wait_for_text("#preview-name", "red.png")
    here.wait_for_answer()
    assert here.shown() == red_bars
    assert here.page.locator("#live").is_hidden()


def test_another_model_and_a_broken_server_end_the_camera(visit: Visit) -> None:
    here = visit()
    page = here.page
    page.get_by_role("button", name="Run the camera").click()
    page.locator("#rate:not(:empty)").wait_for()
    page.get_by_label("Model", exact=True).select_option("a second/model")
    page.locator("#live").wait_for(state="hidden")
    page.get_by_role("button", name="Run the camera").click()
    page.locator("#rate:not(:empty)").wait_for()
    page.context.set_offline(True)
    assert here.wait_for_error()[0] == "The server cannot be reached."
    page.locator("#live").wait_for(state="hidden")


@pytest.mark.parametrize(
    ("reason", "sentences"),
    [
        ("NotAllowedError", ["The page may not use the camera.", "Allow it in the browser."]),
        ("NotFoundError", ["There is no camera that can be used."]),
    ],
)
def test_a_camera_that_cannot_be_used(visit: Visit, reason: str, sentences: list[str]) -> None:
    here = visit()
    refuse = f"async () => {{ throw new DOMException('', '{reason}'); }}"
    here.page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {refuse}; }}")
    here.page.get_by_role("button", name="Run the camera").click()
    assert here.wait_for_error() == sentences


def test_answers_of_the_camera_are_smoothed(visit: Visit, url: str) -> None:
    """A new class takes the lead only after it was seen a few times; what does not move keeps its scores."""
    here = visit()
    mixed = here.page.evaluate(
        """async () => {
          const { smoothing } = await import('/page/camera.js');
          const mix = smoothing();
          const seen = (label) => ({predictions: [{label, index: label === 'a' ? 0 : 1, probability: 0.8}]});
          const pair = (one) => [one.label, one.probability];
          return ['a', 'a', 'b', 'b', 'b'].map((label) => mix(seen(label)).map(pair));
        }"""
    )
    assert mixed[1] == [["a", pytest.approx(0.8)]]
    assert [frame[0][0] for frame in mixed] == ["a", "a", "a", "a", "b"]
    assert mixed[2] == [["a", pytest.approx(0.6)], ["b", pytest.approx(0.2)]]
