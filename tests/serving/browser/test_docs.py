"""The OpenAPI description in Swagger UI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def shown(browser: Any, url: str) -> Iterator[Any]:
    """The page `/docs`; it asks nobody but the server, and its console stays empty."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url) if _is_foreign(request.url, url) else None)
    try:
        page.goto(f"{url}/docs")
        page.locator(".opblock").first.wait_for()
        yield page
        assert told == []
    finally:
        page.close()


def _is_foreign(address: str, url: str) -> bool:
    return not address.startswith((f"{url}/", "data:", "blob:"))


def test_swagger_shows_every_route_without_an_error(shown: Any, url: str) -> None:
    document = shown.request.get(f"{url}/docs.json").json()
    operations = sum(len(item) for item in document["paths"].values())
    assert shown.locator(".opblock").count() == operations
    assert shown.locator(".errors-wrapper").count() == 0
    assert "Pinnace: tiny, a second/model" in shown.locator(".title").first.inner_text()
    assert shown.locator(".info .description p").first.inner_text().startswith("This server takes images")


def test_an_image_is_classified_from_there(shown: Any, picture: Any) -> None:
    block = shown.locator("#operations-Classification-classify")
    block.locator(".opblock-summary-control").click()
    assert block.locator(".response[data-code='503']", has_text="overloaded").is_visible()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_label("Request content type").select_option("multipart/form-data")
    block.locator("input[type=file]").set_input_files(picture())
    execute(block)


@pytest.mark.parametrize("operation", ["classify", "classify_with_model", "explain"])
def test_what_is_filled_in_is_sent_as_it_is(shown: Any, operation: str) -> None:
    block = shown.locator(f"#operations-Classification-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    execute(block)


def execute(block: Any) -> None:
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response", has_text="200")
    live.wait_for()
    assert '"probability"' in live.inner_text()
