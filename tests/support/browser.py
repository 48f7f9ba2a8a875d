"""Headless Chromium, and what is asked of every page in it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
# Nothing that Chromium would do by itself: no updates, no synchronisation, no other protocol.
ARGUMENTS = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows moving colours, and may be used.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
# What a browser itself says of an answer that is no success, and of none.
REPORTED = re.compile(
    r"Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_INTERNET_DISCONNECTED)"
)
VIOLATION = "addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective))"

# The contrast of every visible text, by the formula of WCAG 2.2.
CONTRASTS = """() => {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ({r, g, b}) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
      if (colour.a !== 0) throw new Error('a translucent background');
    }
    throw new Error('no background');
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest('noscript')) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    found.push([text, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}"""

# Words that are drawn outside of their picture.
WORDS_OUTSIDE = """() => [...document.querySelectorAll('figure svg.wide, figure svg.narrow')]
.filter(e => e.checkVisibility()).flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(word => {
      const box = word.getBoundingClientRect();
      return box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
    }).map(word => word.textContent);
  })"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Chromium, as playwright's `Browser`; the test is skipped where one of the two is missing.

    Not for a whole session of tests: while playwright runs, no test can run an event loop.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


def check_looks(page: Any) -> None:
    """Nothing to scroll sideways, and every text can be read."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 5
    assert [pair for pair in contrasts if pair[1] < 4.5] == []


class Visit:
    """The page in a window of its own; `page` is playwright's."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def load(self, address: str) -> None:
        """Go there, and wait until the models are listed."""
        self.page.goto(address)
        self.page.locator("#model option:not(:text-is('…'))").first.wait_for(state="attached")

    def choose(self, file: dict[str, Any]) -> None:
        self.page.set_input_files("#pick", file)

    def wait_for_answer(self) -> None:
        self.page.wait_for_selector("#status.answered")
        self.page.wait_for_selector("#result[aria-busy=false]")

    def wait_for_text(self, selector: str, text: str) -> None:
        # The page's policy forbids what playwright's `wait_for_function` does.
        self.page.locator(selector, has_text=re.compile(f"^{re.escape(text)}$")).wait_for()

    def wait_for_error(self) -> list[str]:
        """The sentences of the error."""
        self.page.wait_for_selector("#error p")
        return list(self.page.locator("#error p").all_inner_texts())

    def shown(self) -> list[tuple[str, str]]:
        """The labels and percentages of the bars."""
        lines = self.page.locator("#predictions li")
        labels = lines.locator(".label").all_inner_texts()
        return list(zip(labels, lines.locator(".percent").all_inner_texts(), strict=True))

    def check_looks(self) -> None:
        """Nothing to scroll sideways, and every text can be read."""
        check_looks(self.page)
