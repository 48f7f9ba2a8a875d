"""What the model sees, why it answers as it does, the request as a program, and another model beside it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.browser import Visit as Page
from support.command_line import PINNACE
from support.tiny_bundle import SIZE, build_bundle

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
Answered = Callable[..., Page]
Picture = Callable[..., dict[str, Any]]

SPOT = (slice(5, 7), slice(1, 3))
PIXELS = """image => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
}"""
ALPHA = """canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, ...data.filter((_, at) => at % 4 === 3)];
}"""


@pytest.fixture(scope="module")
def spot(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of a network that looks at one patch, of the middle of a picture, in two variants."""
    folder = tmp_path_factory.mktemp("spot") / "spot.bundle"
    bundle = build_bundle(folder, name="spot", seen=SPOT, crop=(SIZE, SIZE), others=("onnx-second",))
    command = [*PINNACE, "serve", str(bundle), "--explain", "--beside", "onnx-second"]
    server = start_server(command, workers=1, concurrency=2, api_key="a key")
    server.wait_until_ready()
    return server


@pytest.fixture
def spotted() -> dict[str, Any]:
    """A picture twice as wide as high, grey, with a red spot where the network looks."""
    pixels = np.full((20 * SIZE, 40 * SIZE, 3), 128, np.uint8)
    rows, columns = SPOT
    left = 10 * SIZE  # the crop is the middle
    pixels[20 * rows.start : 20 * rows.stop, left + 20 * columns.start : left + 20 * columns.stop] = (
        250,
        10,
        10,
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"name": "it's a spot.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


@pytest.fixture
def answered(visit: Visit, spot: Any, spotted: dict[str, Any]) -> Callable[..., Page]:
    """Visit the server of `spot`, give the key, and have the picture answered."""

    def answered(*looks: str, **options: Any) -> Page:
        here: Page = visit(*looks, go=False, **options)
        here.page.goto(spot.url)
        here.page.get_by_label("The server's API key").fill("a key")
        here.page.get_by_role("button", name="Use this key").click()
        here.page.locator("#model option:not(:text-is('…'))").first.wait_for(state="attached")
        here.choose(spotted)
        here.wait_for_answer()
        return here

    return answered


@pytest.mark.parametrize(("size", "scheme"), [("wide", "dark"), ("narrow", "light")])
def test_what_the_model_sees_is_shown(
    answered: Answered, spotted: dict[str, Any], picture: Picture, size: str, scheme: str
) -> None:
    here = answered(size, scheme)
    page = here.page
    assert page.locator("#crop").is_hidden()
    button = page.get_by_role("button", name="What the model sees")
    button.click()
    page.mouse.move(0, 0)
    crop = page.get_by_role("img", name="What the model sees of it's a spot.png")
    crop.wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    here.wait_for_text("#crop-size", f"{SIZE} × {SIZE} pixels")
    seen = np.array(crop.evaluate(PIXELS)).reshape(SIZE, SIZE, 4)[..., :3]
    image = Image.open(io.BytesIO(spotted["buffer"])).resize((2 * SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.array_equal(seen, np.asarray(image)[:, SIZE // 2 : 3 * SIZE // 2])
    whole, frame = (page.locator(one).bounding_box() for one in ("#preview-image", "#frame"))
    assert frame["x"] - whole["x"] == pytest.approx(whole["width"] / 4, abs=1)
    assert frame["width"] == pytest.approx(whole["width"] / 2, abs=1)
    here.check_looks()
    here.choose(picture())  # of the next picture it is shown too
    crop = page.get_by_role("img", name="What the model sees of red.png")
    crop.wait_for()
    here.wait_for_answer()
    assert crop.evaluate(PIXELS)[:4] == [240, 20, 30, 255]
    button.click()
    page.mouse.move(0, 0)
    crop.wait_for(state="hidden")


def test_it_is_there_while_its_button_is_pointed_at_or_has_the_focus(answered: Answered) -> None:
    here = answered()
    button, crop = here.page.get_by_role("button", name="What the model sees"), here.page.locator("#crop")
    button.hover()
    crop.wait_for()
    here.page.mouse.move(0, 0)
    crop.wait_for(state="hidden")
    here.page.locator("#beside").focus()
    here.page.keyboard.press("Tab")
    crop.wait_for()
    assert button.get_attribute("aria-pressed") == "false"
    here.page.keyboard.press("Tab")
    crop.wait_for(state="hidden")


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_why_is_drawn_over_the_picture(answered: Answered, picture: Picture, size: str, scheme: str) -> None:
    here = answered(size, scheme)
    page = here.page
    why = page.get_by_role("button", name="Why?")
    why.focus()
    page.keyboard.press("Enter")
    words = re.compile(
        r"^reddish comes most from the part at the bottom left: without it, [\d.]+% becomes [\d.]+%\.$"
    )
    page.locator("#why-text", has_text=words).wait_for()
    whole, without = map(float, re.findall(r"[\d.]+(?=%)", page.locator("#why-text").inner_text()))
    assert without < whole
    assert f"{whole:.1f}%" == here.shown()[0][1]
    heat = page.get_by_role("img", name="How much each part counts: reddish comes most")
    rows, columns, *alpha = heat.evaluate(ALPHA)
    assert (rows, columns) == (8, 8)
    strongest = np.array(alpha).reshape(8, 8)
    assert {tuple(map(int, one)) for one in np.argwhere(strongest > strongest.max() / 2)} <= {
        (row, column) for row in (5, 6) for column in (1, 2)
    }
    whole, drawn = (page.locator(one).bounding_box() for one in ("#preview-image", "#heat"))
    assert drawn["x"] - whole["x"] == pytest.approx(whole["width"] / 4, abs=1)
    here.check_looks()
    page.keyboard.press("Enter")
    heat.wait_for(state="hidden")
    assert why.get_attribute("aria-pressed") == "false"
    why.click()
    heat.wait_for()
    page.get_by_label("Model", exact=True).select_option("spot@onnx-second")
    here.wait_for_text("#answer-model", "spot@onnx-second")
    with page.expect_request(lambda sent: "explain" in sent.url) as asked:
        why.click()
    assert "spot%40onnx-second/explain" in asked.value.url
    heat.wait_for()
    here.choose(picture())
    here.wait_for_answer()
    assert heat.is_hidden()  # it was another picture's
    why.click()
    here.wait_for_text(
        "#why-text",
        "No part of it alone makes it reddish: without any of them the score is no smaller.",
    )


def test_a_server_that_breaks_under_the_page(answered: Answered) -> None:
    here = answered()
    page = here.page
    broken = ["The server cannot be reached.", "Is the server running, and is this machine online?"]
    page.context.set_offline(True)
    see, why = (page.get_by_role("button", name=name) for name in ("What the model sees", "Why?"))
    for button in (see, why):
        button.click()
        assert here.wait_for_error() == broken
        page.evaluate("document.getElementById('error').replaceChildren()")
    assert why.get_attribute("aria-pressed") == "false"
    assert page.locator("#why-text").inner_text() == ""
    page.get_by_label("Beside it").select_option("spot@onnx-second")
    page.locator("#other-error", has_text="cannot be reached").wait_for()
    here.check_looks()
    page.context.set_offline(False)
    page.mouse.move(0, 0)
    see.click()
    see.click()
    page.locator("#crop").wait_for()
    why.click()
    page.locator("#heat").wait_for()


def test_why_is_not_offered_where_the_server_does_not_explain(
    visit: Visit, start_server: Any, picture: Picture
) -> None:
    server = start_server(workers=1, concurrency=1)
    server.wait_until_ready()
    here = visit(go=False)
    here.load(server.url)
    here.choose(picture())
    here.wait_for_answer()
    assert here.page.get_by_role("button", name="What the model sees").is_enabled()
    assert here.page.get_by_role("button", name="Why?").count() == 0
    assert here.page.locator("#beside-choice").is_hidden()  # there is one model


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_two_variants_side_by_side(
    answered: Answered, spotted: dict[str, Any], size: str, scheme: str
) -> None:
    here = answered(size, scheme)
    page = here.page
    beside = page.get_by_label("Beside it")
    assert beside.locator("option").all_inner_texts() == ["nothing", "spot@onnx-second"]

    def slow(route: Any) -> None:
        response = route.fetch()
        body = response.json()
        body["timing_ms"]["infer"] = 1000
        route.fulfill(response=response, json=body)

    page.route("**/spot%40onnx-second/classify*", slow)
    beside.select_option("spot@onnx-second")
    other = page.get_by_role("list", name="onnx-second: 1000.0 ms")
    other.wait_for()
    assert other.get_by_role("listitem").count() == 5
    assert other.locator(".label").all_inner_texts() == [label for label, _ in here.shown()]
    assert re.fullmatch(r"onnx-fp32: <?[\d.]+ ms", page.locator("#own-title").inner_text())
    said = page.locator("#other-source").inner_text()
    assert re.fullmatch(r"onnx-second in onnxruntime\. onnx-fp32 infers [\d.]+ times as fast here\.", said)
    here.check_looks()
    with page.expect_response("**/spot%40onnx-second/classify*"):
        here.choose(spotted)  # of the next picture both say something too
    other.wait_for()
    beside.select_option("")
    page.locator("#other").wait_for(state="hidden")
    assert page.locator("#own-title").is_hidden()


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_request_that_is_shown_asks_the_same(
    answered: Answered, spotted: dict[str, Any], tmp_path: Path, language: str
) -> None:
    program = {"curl": ["bash"], "Python": [sys.executable], "JavaScript": ["node"]}[language]
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    here = answered(permissions=["clipboard-read", "clipboard-write"])
    page = here.page
    page.get_by_label("Model", exact=True).select_option("spot@onnx-second")
    here.wait_for_text("#answer-model", "spot@onnx-second")
    button = page.get_by_role("button", name="From code")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    page.get_by_label(language, exact=True).check()
    here.check_looks()
    shown = page.locator("#code-text").inner_text()
    page.get_by_role("button", name="Copy").click()
    here.wait_for_text("#copied", "Copied.")
    assert page.evaluate("navigator.clipboard.readText()").replace("\r", "") == shown
    # Where the page came by plain http.
    page.evaluate("clip = navigator.clipboard, clip.writeText('')")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}), copied.textContent = ''"
    )
    page.get_by_role("button", name="Copy").click()
    here.wait_for_text("#copied", "Copied.")
    assert page.evaluate("clip.readText()").replace("\r", "") == shown
    page.evaluate("document.execCommand = () => false")
    page.get_by_role("button", name="Copy").click()
    here.wait_for_text("#copied", "It is selected: copy it with the keyboard.")
    assert page.evaluate("String(getSelection())").strip() == shown.strip()
    (tmp_path / "it's a spot.png").write_bytes(spotted["buffer"])
    file = tmp_path / ("program.mjs" if language == "JavaScript" else "program")
    file.write_text(shown.replace("YOUR-API-KEY", "a key"), encoding="utf-8")
    done = subprocess.run(
        [*program, file], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    if language == "JavaScript":
        assert "spot@onnx-second" in done.stdout
        return
    answer = json.loads(done.stdout)
    assert (answer["model"], answer["variant"]) == ("spot@onnx-second", "onnx-second")
    labels = [one["label"] for one in answer["predictions"]]
    assert labels == [label for label, _ in here.shown()]
