"""Headless Chromium, and a visit to the page in it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
SECOND = "a second/model"
HOSTILE = "<img src=x onerror=alert(1)>"
# Nothing that Chromium would do by itself: no updates, no synchronisation, no other protocol.
ARGUMENTS = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
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
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        contrasts = self.page.evaluate(CONTRASTS)
        assert len(contrasts) > 5
        assert [pair for pair in contrasts if pair[1] < 4.5] == []


@pytest.fixture(scope="session")
def url(
    start_server: Any, tools: dict[str, Callable[..., Any]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A server of two models: one with HTML in the name of a class, one with a slash in its own name."""
    bundle = tools["build_bundle"](tmp_path_factory.mktemp("hostile") / "tiny.bundle")
    labels = (bundle / "labels.txt").read_text().replace("reddish", HOSTILE)
    (bundle / "labels.txt").write_text(labels)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["labels.txt"] = hashlib.sha256(labels.encode()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    second = tools["build_bundle"](bundle.with_name("second.bundle"), name=SECOND)
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(bundle), str(second)]
    server = start_server(command, max_pixels=200_000, workers=1, concurrency=2)
    server.wait_until_ready()
    return str(server.url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. Not for the whole session: while playwright runs, no other test can run an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, url: str) -> Iterator[Callable[..., Visit]]:
    """Visit the page; by the end of the test, the browser may have complained of nothing.

    Args of what is yielded:
        size: `wide` or `narrow`.
        scheme: `light` or `dark`.
        go: whether to load the page.
    """
    complaints: list[str] = []
    contexts = []

    def listen(message: Any) -> None:
        if message.type in ("error", "warning") and not REPORTED.match(message.text):
            complaints.append(message.text)

    def visit(size: str = "wide", scheme: str = "light", go: bool = True, **options: Any) -> Visit:
        width, height = SIZES[size]
        viewport = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.add_init_script(VIOLATION)
        here = Visit(page)
        if go:
            here.load(url)
        return here

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def picture(tools: dict[str, Callable[..., Any]]) -> Callable[..., dict[str, Any]]:
    """Make a PNG of one colour, as playwright takes a file."""

    def make(
        colour: tuple[int, int, int] = (240, 20, 30),
        name: str = "red.png",
        size: tuple[int, int] = (60, 40),
    ) -> dict[str, Any]:
        return {"name": name, "mimeType": "image/png", "buffer": tools["encode"](colour, size)}

    return make


@pytest.fixture(scope="session")
def red_bars(tools: dict[str, Callable[..., Any]]) -> list[tuple[str, str]]:
    """What the bars must say of the red picture, computed without any of our code."""
    logits = tools["logits_of"]((240, 20, 30)).astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    names = [HOSTILE, "greenish", "bluish", "bright", "dark"]
    order = np.argsort(-probabilities)
    assert probabilities.min() > 0.001  # below, the page says "<0.1%"
    return [(names[i], f"{100 * probabilities[i]:.1f}%") for i in order]
