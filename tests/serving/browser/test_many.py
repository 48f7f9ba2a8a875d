"""Many pictures at once: a folder, hundreds of files; filtered, sorted, taken away as a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_bundle import LABELS, encode, logits_of

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
Picture = Callable[..., dict[str, Any]]

COLOURS = {"red": (240, 20, 30), "green": (20, 240, 30), "blue": (20, 30, 240)}
HOSTILE = "<img src=x onerror=alert(1)>"
COUNT_ADDRESSES = """window.addresses = 0;
for (const [name, by] of [['createObjectURL', 1], ['revokeObjectURL', -1]]) {
  const call = URL[name];
  URL[name] = (it) => { if (by > 0 || it) window.addresses += by; return call.call(URL, it); };
}"""


def label_of(colour: tuple[int, int, int]) -> str:
    label = LABELS[int(np.argmax(logits_of(colour)))]
    return HOSTILE if label == "reddish" else label


def drop(page: Any, path: Path) -> None:
    """Let a file or a folder go over the page, as a hand would."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 300, "data": data})


def classes(page: Any) -> list[str]:
    return list(page.locator("#grid .label").all_text_contents())  # also of those that are out of sight


def downloaded(page: Any) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "pinnace.csv"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def finish(here: Any, text: str) -> None:
    here.wait_for_text("#many-done", text)


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_two_files_are_two_answers(visit: Visit, picture: Picture, size: str, scheme: str) -> None:
    here = visit(size, scheme)
    here.page.set_input_files("#pick", [picture(COLOURS[one], f"{one}.png") for one in ("green", "blue")])
    finish(here, "2 answered, 0 not.")
    grid = here.page.get_by_role("list", name="Pictures")
    assert grid.get_by_role("listitem").count() == 2
    assert classes(here.page) == ["greenish", "bluish"]
    here.page.locator("#grid img").last.evaluate("image => image.decode()")  # the small copy
    here.check_looks()
    grid.get_by_role("button").nth(1).focus()
    here.page.keyboard.press("Enter")
    here.wait_for_answer()
    assert here.page.locator("#preview-name").inner_text() == "blue.png"
    assert here.shown()[0][0] == "bluish"


@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_a_folder_is_taken_with_what_is_below_it(visit: Visit, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "holidays"
    (folder / "sea").mkdir(parents=True)
    for name, colour in (("2.png", "red"), ("10.png", "green"), ("sea/1.png", "blue")):
        (folder / name).write_bytes(encode(COLOURS[colour]))
    (folder / "3.AVIF").write_bytes(encode(COLOURS["green"], format="AVIF"))
    (folder / "4.heic").write_bytes(b"no picture")  # which the server says, and not the page
    (folder / ".5.png").write_bytes(encode(COLOURS["red"]))
    (folder / "notes.txt").write_text("no picture")
    here = visit()
    if way == "dropped":
        drop(here.page, folder)
    else:
        here.page.set_input_files("#folder", folder)
    finish(here, "4 answered, 1 not.")
    assert classes(here.page).count(label_of(COLOURS["green"])) == 2
    names = here.page.locator("#grid .name").all_text_contents()
    below = names.pop(0 if way == "dropped" else -1)  # a browser tells no path of what is dropped
    assert [*names, below] == ["2.png", "3.AVIF", "4.heic", "10.png", "1.png"]
    if way == "chosen":
        assert downloaded(here.page)[-1]["image"] == "holidays/sea/1.png"


def test_an_empty_folder_is_told(visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    here = visit()
    drop(here.page, folder)
    assert here.wait_for_error() == ["There is no picture in the folder."]


def test_filter_sort_and_table(visit: Visit, picture: Picture) -> None:
    here = visit()
    page = here.page
    pale = [(240, 20, 30), (160, 100, 100), (20, 240, 30), (200, 60, 60)]
    named = ['0, "a".png', '"a" 1.png', "2.png", "3\n.png"]
    files = [picture(colour, name) for colour, name in zip(pale, named, strict=True)]
    files.insert(2, {"name": "none.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.set_input_files("#pick", files)
    finish(here, "4 answered, 1 not.")
    assert page.locator("#grid .failed .class").all_text_contents() == [
        "the bytes are not of an accepted image type"
    ]
    options = page.locator("#filter option").all_inner_texts()
    assert options[0] == "all (5)"
    assert sorted(options[1:]) == sorted([f"{HOSTILE} (3)", "greenish (1)", "not answered (1)"])
    page.get_by_label("Class", exact=True).select_option(label=f"{HOSTILE} (3)")
    page.get_by_label("Order", exact=True).select_option("surest first")
    names = page.locator("#grid .name")
    assert names.all_text_contents() == [named[0], named[3], named[1]]
    page.get_by_label("Order", exact=True).select_option("least sure first")
    assert names.all_text_contents() == [named[1], named[3], named[0]]
    assert [row["image"] for row in downloaded(page)] == names.all_text_contents()
    page.get_by_label("Class", exact=True).select_option(label="not answered (1)")
    assert names.all_text_contents() == ["none.png"]
    page.get_by_label("Class", exact=True).select_option("")
    for order in ("least sure first", "surest first"):
        page.get_by_label("Order", exact=True).select_option(order)
        assert names.all_text_contents()[-1] == "none.png"
    page.get_by_label("Order", exact=True).select_option("as they came")
    assert page.locator("#many-progress").evaluate("bar => [bar.value, bar.max]") == [5, 5]
    rows = downloaded(page)
    assert [row["image"] for row in rows] == [file["name"] for file in files]
    assert [row["label_1"] for row in rows] == [HOSTILE, HOSTILE, "", "greenish", HOSTILE]
    assert [row["error_code"] for row in rows] == ["", "", "unsupported_image_type", "", ""]
    best = np.exp(logits_of(pale[0]).astype(np.float64))
    assert float(rows[0]["probability_1"]) == pytest.approx(best.max() / best.sum(), abs=1e-5)


def test_the_table_has_the_columns_of_the_command_line() -> None:
    from pinnace.cli.classify.row_formats import Csv

    text = (Path(__file__).parents[3] / "serving" / "page" / "csv.js").read_text(encoding="utf-8")
    listed = text[text.index("[") + 1 : text.index("]")]
    assert [one.strip().strip('"') for one in listed.split(",") if one.strip()] == Csv(
        1
    ).header.strip().split(",")


def test_five_hundred_pictures(visit: Visit, url: str, picture: Picture) -> None:
    here = visit(go=False)
    page = here.page
    page.add_init_script(COUNT_ADDRESSES)
    asked = {"now": 0, "most": 0, "all": 0}

    def begin(request: Any) -> None:
        if request.method == "POST":
            asked["all"] += 1
            asked["now"] += 1
            asked["most"] = max(asked["most"], asked["now"])

    def end(request: Any) -> None:
        asked["now"] -= request.method == "POST"

    page.on("request", begin)
    page.on("requestfinished", end)
    here.load(url)
    colours = [COLOURS[name] for name in ("red", "green", "blue")]
    page.set_input_files("#pick", [picture(colours[at % 3], f"{at}.png") for at in range(500)])
    page.set_default_timeout(60_000)
    finish(here, "500 answered, 0 not.")
    assert page.locator("#grid li").count() == 500
    assert asked["all"] == 500
    assert asked["most"] <= 4
    assert Counter(classes(page)) == Counter(label_of(colours[at % 3]) for at in range(500))
    page.wait_for_timeout(500)  # the last thumbnails are drawn
    assert page.evaluate("window.addresses") == 0


def test_it_can_be_stopped_and_begun_anew(visit: Visit, picture: Picture) -> None:
    here = visit()
    page = here.page
    held: list[Any] = []
    page.route("**/classify*", lambda route: held.append(route) if len(held) < 4 else route.continue_())
    page.set_input_files("#pick", [picture(name=f"{at}.png") for at in range(9)])
    page.get_by_role("button", name="Stop", exact=True).click()
    finish(here, "Stopped: 0 answered, 0 not.")
    page.unroute("**/classify*")
    page.set_input_files("#pick", [picture(name=f"{at}.png") for at in range(2)])
    finish(here, "2 answered, 0 not.")


def test_another_model_is_asked_about_all_of_them(visit: Visit, picture: Picture) -> None:
    here = visit()
    here.page.set_input_files("#pick", [picture(name=f"{at}.png") for at in range(2)])
    finish(here, "2 answered, 0 not.")
    assert classes(here.page) == [HOSTILE] * 2
    here.page.get_by_label("Model", exact=True).select_option("a second/model")
    here.page.locator("#grid .label", has_text="reddish").nth(1).wait_for()
    assert classes(here.page) == ["reddish"] * 2
