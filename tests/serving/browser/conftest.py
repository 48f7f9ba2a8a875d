"""Headless Chromium, and a visit to the page in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from support.browser import REPORTED, SIZES, VIOLATION, Visit, chromium
from support.command_line import PINNACE
from support.tiny_bundle import build_bundle, encode, logits_of

SECOND = "a second/model"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def url(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server of two models: one with HTML in the name of a class, one with a slash in its own name."""
    bundle = build_bundle(tmp_path_factory.mktemp("hostile") / "tiny.bundle")
    labels = (bundle / "labels.txt").read_text().replace("reddish", HOSTILE)
    (bundle / "labels.txt").write_text(labels)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["labels.txt"] = hashlib.sha256(labels.encode()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    second = build_bundle(bundle.with_name("second.bundle"), name=SECOND)
    command = [*PINNACE, "serve", str(bundle), str(second), "--explain"]
    limits = {"max_pixels": 200_000, "max_body_bytes": 400_000}
    server = start_server(command, workers=1, concurrency=2, **limits)
    server.wait_until_ready()
    return str(server.url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of one file."""
    with chromium() as running:
        yield running


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
def picture() -> Callable[..., dict[str, Any]]:
    """Make a PNG of one colour, as playwright takes a file."""

    def make(
        colour: tuple[int, int, int] = (240, 20, 30),
        name: str = "red.png",
        size: tuple[int, int] = (60, 40),
    ) -> dict[str, Any]:
        return {"name": name, "mimeType": "image/png", "buffer": encode(colour, size)}

    return make


@pytest.fixture(scope="session")
def red_bars() -> list[tuple[str, str]]:
    """What the bars must say of the red picture, computed without any of our code."""
    logits = logits_of((240, 20, 30)).astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    names = [HOSTILE, "greenish", "bluish", "bright", "dark"]
    order = np.argsort(-probabilities)
    assert probabilities.min() > 0.001  # below, the page says "<0.1%"
    return [(names[i], f"{100 * probabilities[i]:.1f}%") for i in order]
