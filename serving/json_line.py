"""JSON as the body of an answer, which ends in a newline: the prompt of a terminal then has its own line."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class JsonLine(JSONResponse):
    """One JSON document and a newline, which every reader of JSON skips."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return super().render(content) + b"\n"
