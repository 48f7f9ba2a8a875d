"""Take `docs/tuning.png`, the picture in a report of `pinnace tune`; needs playwright and Chromium.

pinnace tune efficientnet_lite0.bundle --images photographs --report tuned.html
python docs/make_tuning_picture.py tuned.html
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FILE = Path(__file__).with_name("tuning.png")
VIEWPORT = {"width": 800, "height": 900}

if __name__ == "__main__":
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=VIEWPORT, color_scheme="light")
        page.goto(Path(sys.argv[1]).absolute().as_uri())
        page.locator("figure").first.screenshot(path=FILE)
        browser.close()
