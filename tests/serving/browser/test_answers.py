"""What the page shows: answers, errors, models; at two widths, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
Picture = Callable[..., dict[str, Any]]
Bars = list[tuple[str, str]]

HOSTILE = "<img src=x onerror=alert(1)>"
STAGES = r"decode\s<?[\d.]+ ms\spreprocess\s<?[\d.]+ ms\squeue\s<?[\d.]+ ms\sinfer\s<?[\d.]+ ms"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_a_picture_is_answered(
    visit: Visit, picture: Picture, red_bars: Bars, size: str, scheme: str
) -> None:
    here = visit(size, scheme)
    here.check_looks()
    here.choose(picture(size=(300, 400)))
    here.wait_for_answer()
    assert here.shown() == red_bars
    label, percent = red_bars[0]
    assert here.page.locator("#status").inner_text() == f"{label}, {percent}"
    widths = here.page.locator("#predictions .fill").evaluate_all("fills => fills.map(f => f.style.width)")
    assert [f"{float(width[:-1]):.1f}%" for width in widths] == [percent for _, percent in red_bars]
    words = here.page.locator(".source").inner_text().split()
    assert words == ["Model", "tiny", "Variant", "onnx-fp32", "Runtime", "onnxruntime"]
    assert here.page.locator("#preview-image").evaluate("image => image.naturalWidth") == 300
    here.check_looks()
    box = here.page.locator("#status").bounding_box()
    # In sight, beside the picture, or below it once the page has been scrolled.
    assert 0 <= box["y"] <= here.page.viewport_size["height"] - box["height"]


def test_the_stages_fill_one_bar(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.choose(picture())
    here.wait_for_answer()
    assert re.fullmatch(STAGES, here.page.locator("#stages").inner_text())
    title = here.page.locator("#stages-title").inner_text()
    assert re.fullmatch(r"Time on the server: <?[\d.]+ ms", title)
    widths = "parts => parts.map(p => parseFloat(p.style.width))"
    parts = here.page.locator("#stages-bar div").evaluate_all(widths)
    assert len(parts) == 4
    assert sum(parts) == pytest.approx(100, abs=0.1)


def test_names_with_html_in_them_are_text(visit: Visit, picture: Picture) -> None:
    here = visit()
    images = here.page.locator("img").count()
    here.choose(picture(name=f"{HOSTILE}.png"))
    here.wait_for_answer()
    assert here.page.locator("#preview-name").inner_text() == f"{HOSTILE}.png"
    assert here.shown()[0][0] == HOSTILE
    assert here.page.locator("img").count() == images
    assert here.page.locator("script").count() == 1


@pytest.mark.parametrize(
    ("name", "content", "sentences"),
    [
        (
            "notes.txt",
            b"hello",
            [
                "The bytes are not of an accepted image type.",
                "Expected: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIF.",
            ],
        ),
        ("empty.png", b"", ["The image is empty."]),
    ],
)
def test_a_file_that_is_no_image(
    visit: Visit, picture: Picture, name: str, content: bytes, sentences: list[str]
) -> None:
    here = visit("narrow")
    here.choose(picture())
    here.wait_for_answer()
    here.choose({"name": name, "mimeType": "text/plain", "buffer": content})
    assert here.wait_for_error() == sentences
    assert here.page.get_by_role("alert").inner_text().split("\n\n") == sentences
    assert here.page.locator("#answer").is_hidden()  # it was another picture's
    assert here.page.locator("#preview-image").is_hidden()
    assert here.page.locator("#preview-name").inner_text() == name
    here.check_looks()
    here.choose(picture())
    here.wait_for_answer()
    assert here.page.locator("#error p").count() == 0
    assert here.page.locator("#preview-image").is_visible()


@pytest.mark.parametrize(
    ("size", "colours", "note"),
    [
        # 600 x 500 pixels are more than the 200,000 that the server takes.
        (
            (600, 500),
            1,
            "Scaled from 600 × 500 to 489 × 408 pixels here, because the server takes 200,000 pixels",
        ),
        # Noise is not compressed by PNG.
        ((400, 400), 256, "Compressed to"),
    ],
)
def test_a_picture_that_is_too_large_is_scaled(
    visit: Visit, picture: Picture, size: tuple[int, int], colours: int, note: str
) -> None:
    here = visit("narrow")
    file = picture(size=size)
    if colours > 1:
        values = np.random.default_rng(0).integers(0, colours, (size[1], size[0], 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "PNG")
        file["buffer"] = buffer.getvalue()
        assert len(file["buffer"]) > 400_000
    with here.page.expect_request("**/classify*") as asked:
        here.choose(file)
    here.wait_for_answer()
    assert 0 < int(asked.value.all_headers()["content-length"]) <= 400_000
    assert here.page.locator("#note").inner_text().startswith(note)
    assert here.page.locator("#error p").count() == 0
    here.check_looks()
    here.page.get_by_role("button", name="From code").click()
    smaller = "The page has sent a smaller copy: this picture is too large for the server."
    here.wait_for_text("#copied", smaller)
    here.choose(picture())
    here.wait_for_answer()
    assert here.page.locator("#note").inner_text() == ""
    assert here.page.locator("#copied").inner_text() == ""


def test_an_unsure_answer_says_so(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.choose(picture((110, 110, 110)))
    here.wait_for_answer()
    label, percent = here.shown()[0]
    assert float(percent.removesuffix("%")) < 30
    assert here.page.locator("#status").inner_text() == f"Not sure: {label}, {percent}"


def test_a_number_that_is_nearly_0_or_1_is_not_rounded_to_it(visit: Visit) -> None:
    here = visit()
    shown = here.page.evaluate(
        "async () => [0, 0.0004, 0.5, 0.9996, 1].map((await import('/page/dom.js')).percent)"
    )
    assert shown == ["0.0%", "<0.1%", "50.0%", ">99.9%", "100.0%"]


@pytest.mark.parametrize(("turns", "orientation"), [(True, "from-image"), (False, "none")])
def test_a_picture_is_shown_turned_where_the_model_turns_it(
    visit: Visit, url: str, picture: Picture, turns: bool, orientation: str
) -> None:
    here = visit(go=False)

    def change(route: Any) -> None:
        response = route.fetch()
        listed = response.json()
        for model in listed["models"]:
            model["preprocess"]["exif"] = turns
        route.fulfill(response=response, json=listed)

    here.page.route("**/models", change)
    here.load(url)
    here.choose(picture())
    here.wait_for_answer()
    image = here.page.locator("#preview-image")
    assert image.evaluate("image => getComputedStyle(image).imageOrientation") == orientation


def test_a_network_that_fails(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.page.context.set_offline(True)
    here.choose(picture())
    assert here.wait_for_error() == [
        "The server cannot be reached.",
        "Is the server running, and is this machine online?",
    ]
    here.page.get_by_role("button", name="Example: a clock").click()
    here.wait_for_text("#error p", "The example cannot be loaded.")
    assert here.wait_for_error() == ["The example cannot be loaded.", "Is the server still running?"]
    here.page.context.set_offline(False)
    here.choose(picture())
    here.wait_for_answer()
    assert here.page.locator("#error p").count() == 0


def test_a_later_picture_overtakes_an_earlier_one(visit: Visit, picture: Picture, red_bars: Bars) -> None:
    here = visit()
    held: list[Any] = []
    # The first question is kept on its way; the others go through.
    here.page.route("**/classify*", lambda route: route.continue_() if held else held.append(route))
    here.choose(picture((20, 240, 30), "green.png"))
    here.wait_for_text("#status", "Asking about green.png …")
    assert here.page.locator("#result").get_attribute("aria-busy") == "true"
    while not held:  # the page may say so before its question has set out
        here.page.wait_for_timeout(50)
    here.choose(picture())
    here.wait_for_answer()
    held[0].continue_()
    here.page.wait_for_timeout(300)  # enough for its answer to come, were it still awaited
    assert len(held) == 1
    assert here.page.locator("#preview-name").inner_text() == "red.png"
    assert here.shown() == red_bars


def test_the_model_is_chosen_where_there_are_several(visit: Visit, url: str, picture: Picture) -> None:
    here = visit(go=False)
    asked: list[str] = []
    here.page.on(
        "request",
        lambda request: request.method == "POST" and asked.append(request.url.removeprefix(url)),
    )
    here.load(url)
    chooser = here.page.get_by_label("Model", exact=True)
    assert chooser.is_enabled()
    here.choose(picture())
    here.wait_for_answer()
    chooser.select_option("a second/model")
    here.wait_for_text("#answer-model", "a second/model")
    assert here.shown()[0][0] == "reddish"  # which the first model calls otherwise
    assert asked == ["/models/tiny/classify", "/models/a%20second%2Fmodel/classify"]


def test_the_models_cannot_be_listed(visit: Visit, url: str, picture: Picture, red_bars: Bars) -> None:
    here = visit(go=False)
    error = {"code": "busy", "message": "the server is full", "hint": "come back at noon"}
    here.page.route("**/models", lambda route: route.fulfill(status=422, json={"error": error}))
    here.page.goto(url)
    assert here.wait_for_error() == ["The server is full.", "Come back at noon."]
    here.choose(picture())  # which asks the server's first model all the same
    here.wait_for_answer()
    assert here.shown() == red_bars


def test_a_server_that_wants_a_key(visit: Visit, start_server: Any, picture: Picture) -> None:
    server = start_server(api_key="open sesame", workers=1, concurrency=1)
    server.wait_until_ready()
    here = visit("narrow", go=False)
    page = here.page
    page.goto(server.url)
    sentence = ["The request has no API key, or another than the server's."]
    assert here.wait_for_error() == sentence
    key = page.get_by_label("The server's API key")
    assert key.get_attribute("type") == "password"
    here.check_looks()
    here.choose(picture())
    assert here.wait_for_error() == sentence
    key.fill("ключ")
    key.press("Enter")
    here.wait_for_text("#error p", "This cannot be a key.")
    key.fill("wrong")
    page.get_by_role("button", name="Use this key").click()
    here.wait_for_text("#error p", sentence[0])
    key.fill("open sesame")
    key.press("Enter")
    here.wait_for_answer()  # for the picture that was chosen before
    assert here.shown()[0][0] == "reddish"
    assert page.locator("#model").input_value() == "tiny"
    assert key.is_hidden()
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_the_page_works_under_a_path(visit: Visit, url: str, picture: Picture, red_bars: Bars) -> None:
    here = visit(go=False)

    def strip(route: Any) -> None:
        path = "/deep/below/"
        if path not in route.request.url:
            route.abort()
        else:
            route.fulfill(response=route.fetch(url=route.request.url.replace(path, "/")))

    here.page.route("**/*", strip)
    here.load(f"{url}/deep/below/")
    here.choose(picture())
    here.wait_for_answer()
    assert here.shown() == red_bars


@pytest.mark.parametrize(("motion", "seconds"), [("reduce", "0s"), ("no-preference", "0.25s")])
def test_bars_move_only_where_motion_is_liked(
    visit: Visit, picture: Picture, motion: str, seconds: str
) -> None:
    here = visit(reduced_motion=motion)
    here.choose(picture())
    here.wait_for_answer()
    fill = here.page.locator(".fill").first
    assert fill.evaluate("fill => getComputedStyle(fill).transitionDuration") == seconds


def test_bars_are_seen_where_the_system_chooses_the_colours(visit: Visit, picture: Picture) -> None:
    here = visit(forced_colors="active")
    here.choose(picture())
    here.wait_for_answer()
    colours = "e => [e, e.parentElement].map(x => getComputedStyle(x).backgroundColor)"
    for part in (here.page.locator(".fill").first, here.page.locator("#stages-bar .infer")):
        fill, ground = part.evaluate(colours)
        assert fill != ground
