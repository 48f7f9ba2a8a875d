"""Made-up reports, and headless Chromium to read them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pinnace.latency.report import LatencyReport
from pinnace.latency.result_parts import Caveat
from support import browser, reports

HOSTILE = "<img src=x onerror=alert(1)>|`\"'&</title></style><script>alert(2)</script>\x1b[31m"


@pytest.fixture(scope="session")
def matrix() -> LatencyReport:
    """Two rows of one scenario, and the server scenario."""
    row = reports.result
    report = reports.report(
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
    """Chromium, for the tests of one file."""
    with browser.chromium() as running:
        yield running


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file; it may complain of nothing, run nothing, and ask for nothing but itself."""
    complaints: list[str] = []
    contexts = []

    def look(path: Path, size: str = "wide", scheme: str = "light") -> Any:
        width, height = browser.SIZES[size]
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
