"""How a picture comes in: chosen, dropped, pasted, photographed, an example; with the mouse or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
Picture = Callable[..., dict[str, Any]]
Bars = list[tuple[str, str]]

TRANSFER = """([bytes, name]) => {
  const transfer = new DataTransfer();
  if (bytes) transfer.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
  else transfer.setData('text/plain', 'no file');
  return transfer;
}"""
PASTE = """(transfer) => document.body.dispatchEvent(
  new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true})
)"""


@pytest.mark.parametrize("target", ["#drop", "footer"])
def test_a_picture_is_dropped(visit: Visit, picture: Picture, red_bars: Bars, target: str) -> None:
    here = visit()
    transfer = here.page.evaluate_handle(TRANSFER, [list(picture()["buffer"]), "dropped.png"])
    here.page.dispatch_event(target, "dragover", {"dataTransfer": transfer})
    assert here.page.locator("#drop.over").count() == 1
    here.page.dispatch_event(target, "drop", {"dataTransfer": transfer})
    here.wait_for_answer()
    assert here.page.locator("#drop.over").count() == 0
    assert here.page.locator("#preview-name").inner_text() == "dropped.png"
    assert here.shown() == red_bars


def test_a_picture_is_pasted(visit: Visit, picture: Picture, red_bars: Bars) -> None:
    here = visit()
    transfer = here.page.evaluate_handle(TRANSFER, [list(picture()["buffer"]), "image.png"])
    here.page.evaluate(PASTE, transfer)
    here.wait_for_answer()
    assert here.shown() == red_bars


def test_what_is_dropped_or_pasted_without_a_file(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.choose(picture())
    here.wait_for_answer()
    nothing = here.page.evaluate_handle(TRANSFER, [None, ""])
    here.page.evaluate(PASTE, nothing)
    assert here.wait_for_error() == ["There is no picture in the clipboard."]
    here.page.dispatch_event("main", "drop", {"dataTransfer": nothing})
    sentence = "What was dropped is no file: save the picture first, then drop the file."
    assert here.wait_for_error() == [sentence]
    assert here.page.locator("#answer").is_visible()  # still this picture's


def test_a_folder_is_dropped(visit: Visit) -> None:
    # What a browser gives for a folder is a file that cannot be read.
    here = visit()
    here.page.evaluate("File.prototype.slice = () => ({arrayBuffer: () => Promise.reject(new Error())})")
    transfer = here.page.evaluate_handle(TRANSFER, [[1], "holidays"])
    here.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    assert here.wait_for_error() == ["The file cannot be read.", "It may be a folder, or no longer there."]


def test_from_the_keyboard_alone(visit: Visit, picture: Picture, red_bars: Bars) -> None:
    here = visit()
    # Tells Chromium early that its own dialog must not open; with the key press it might be too late.
    here.page.on("filechooser", lambda chooser: None)
    keyboard = here.page.keyboard
    at = "document.activeElement"
    order = []
    for _ in range(9):
        keyboard.press("Tab")
        order.append(here.page.evaluate(f"{at}.id || {at}.dataset.example || {at}.href"))
        outlines = f"[{at}, {at}.parentElement].map(e => getComputedStyle(e).outlineWidth)"
        assert "3px" in here.page.evaluate(outlines)
    ways = ["pick", "folder", "run-camera"]
    examples = ["page/example-clock.jpg", "page/example-lights.jpg"]
    assert order[:8] == ["model", "beside", *ways, *examples, "code-button"]
    assert order[8].endswith("/docs")
    for _ in range(6):
        keyboard.press("Shift+Tab")
    with here.page.expect_file_chooser() as chooser:
        keyboard.press("Enter")
    chooser.value.set_files(picture())
    here.wait_for_answer()
    assert here.shown() == red_bars
    for _ in range(3):
        keyboard.press("Tab")
    keyboard.press("Enter")
    here.wait_for_text("#preview-name", "example-clock.jpg")
    here.wait_for_answer()


@pytest.mark.parametrize("name", ["a clock", "a traffic light"])
def test_an_example_is_clicked(visit: Visit, name: str) -> None:
    here = visit("narrow")
    here.page.get_by_role("button", name=f"Example: {name}").click()
    here.wait_for_answer()
    assert here.page.locator("#preview-image").evaluate("image => image.naturalWidth") == 400
    assert len(here.shown()) == 5


def test_the_same_file_is_chosen_again(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.choose(picture())
    here.wait_for_answer()
    with here.page.expect_request("**/classify*"):
        here.choose(picture())
    here.wait_for_answer()


@pytest.mark.parametrize("touched", [True, False])
def test_the_camera_is_offered_where_there_is_one(visit: Visit, touched: bool) -> None:
    here = visit("narrow", has_touch=touched)
    assert here.page.get_by_text("Take a photograph").is_visible() is touched
    photograph = here.page.locator("#photograph")
    assert photograph.get_attribute("capture") == "environment"
    assert photograph.get_attribute("accept") == "image/*"
    # Systems that do not know these as images would not let them be chosen.
    assert here.page.locator("#pick").get_attribute("accept") == "image/*,.avif,.heic,.heif,.tif,.tiff"
    here.check_looks()


def test_a_photograph_is_answered(visit: Visit, picture: Picture, red_bars: Bars) -> None:
    here = visit("narrow", has_touch=True)
    here.page.set_input_files("#photograph", picture())
    here.wait_for_answer()
    assert here.shown() == red_bars


def test_everything_has_a_name(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.choose(picture())
    here.wait_for_answer()
    page = here.page
    for label in ("Choose pictures", "Choose a folder", "Model", "Beside it"):
        assert page.get_by_label(label, exact=True).count() == 1
    for region in ("Picture", "Answer"):
        assert page.get_by_role("region", name=region).count() == 1
    assert page.get_by_role("list", name="The most probable classes").get_by_role("listitem").count() == 5
    assert page.get_by_role("img", name="The picture to classify: red.png").count() == 1
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator(".bar:not([aria-hidden=true])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"
