"""Made-up reports, and headless Chromium to read them in."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pinnace.latency.report import Caveat, LatencyReport

TESTS = Path(__file__).parents[2]
BROWSER = runpy.run_path(str(TESTS / "serving" / "browser" / "conftest.py"))
HOSTILE = "<img src=x onerror=alert(1)>|`\"'&</title></style><script>alert(2)</script>\x1b[31m"


@pytest.fixture(scope="session")
def make() -> dict[str, Callable[..., Any]]:
    """`result` and `report` of the bench's tests."""
    return runpy.run_path(str(TESTS / "support" / "make_report.py"))


@pytest.fixture(scope="session")
def matrix(make: dict[str, Callable[..., Any]]) -> LatencyReport:
    """Two rows of one scenario, and the server scenario."""
    row = make["result"]
    report = make["report"](
        row(), row("onnx-int8", "openvino", median_ms=5.0, seed=1), row(scenario="server", count=400)
    )
    return replace(report, settings=replace(report.settings, max_p99_ms=30.0))


@pytest.fixture(scope="session")
def hostile(matrix: LatencyReport) -> LatencyReport:
    """The same with names that are markup, in every place where somebody else may write."""
    rows = tuple(
        replace(row, model=HOSTILE, variant=HOSTILE, runtime=HOSTILE, warnings=(Caveat("x", HOSTILE),))
        for row in matrix.results
    )
    device = replace(matrix.device, name=HOSTILE, packages={HOSTILE: HOSTILE})
    return replace(
        matrix,
        results=rows,
        device=device,
        created=HOSTILE,
        settings=replace(matrix.settings, target=HOSTILE),
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium; not for the whole session, because while playwright runs, no test can run an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, headless=True, args=BROWSER["ARGUMENTS"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file; it may complain of nothing, run nothing, and ask for nothing but itself."""
    complaints: list[str] = []
    contexts = []

    def look(path: Path, size: str = "wide", scheme: str = "light") -> Any:
        width, height = BROWSER["SIZES"][size]
        contexts.append(
            chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        )
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith(("data:", path.as_uri().partition("?")[0]))
                else complaints.append(f"request {asked.url}")
            ),
        )
        page.goto(path.as_uri())
        return page

    yield look
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def check_looks() -> Callable[[Any], None]:
    """Nothing to scroll sideways, and every text can be read."""

    def check(page: Any) -> None:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        contrasts = page.evaluate(BROWSER["CONTRASTS"])
        assert len(contrasts) > 5
        assert [pair for pair in contrasts if pair[1] < 4.5] == []

    return check
