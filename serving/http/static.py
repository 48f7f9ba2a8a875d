"""The page: `GET /` for a browser, and the files that it loads, all of them in the folder `page/`.

Plain HTML, CSS and one script; nothing is built, and nothing comes from elsewhere. `page/pinnace.js` is a
symbolic link to the JavaScript client in `clients/js`, which is the one copy of that file: npm packs no
links, while setuptools follows them, so a wheel holds the file itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parents[1] / "page"
INDEX = "index.html"
DOCS = "docs.html"

# The policy allows what the page does and nothing else: no inline script or style, no other host, no frames.
# Only `blob:` is not ours: the picture that the user chose, before it is sent.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Browsers keep it but revalidate each time: the ETag saves the body, and an upgrade shows at once.
    "Cache-Control": "no-cache",
}

# BentoML's copy of Swagger UI shows the description: it has icons in `data:` and styles in the markup.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

# What the system's table of types says of these differs from machine to machine.
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class PageFiles(StaticFiles):
    """The files beside the page, with an ETag and the headers above."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER, follow_symlink=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file; the pages themselves are at `/` and `/docs` only, where their relative links are right."""
        if os.path.normpath(path) in (INDEX, DOCS):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    async def page(self, scope: Scope) -> Response:
        """The page that classifies an image in the browser, with `Vary: Accept`."""
        response = await super().get_response(INDEX, scope)
        response.headers["Vary"] = "Accept"
        return response

    async def docs(self, scope: Scope) -> Response:
        """The page that shows the OpenAPI description."""
        response = await super().get_response(DOCS, scope)
        response.headers["Content-Security-Policy"] = DOCS_POLICY
        return response

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The answer for a file, or 304 where the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        media_type = MEDIA_TYPES.get(Path(full_path).suffix)
        if media_type is not None and response.status_code != 304:
            response.headers["Content-Type"] = f"{media_type}; charset=utf-8"
        return response


PAGE_FILES = PageFiles()


def wants_page(request: Request) -> bool:
    """Whether the client names HTML, as a browser does, and does not like JSON better."""
    html = _quality(request, "text/html")
    return html > 0 and html >= _quality(request, "application/json")


def _quality(request: Request, media_type: str) -> float:
    """How much a client wants a type that it names in `Accept`, 0 to 1; wildcards do not count."""
    for part in ",".join(request.headers.getlist("accept")).split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        if name == media_type:
            for parameter in parameters:
                if parameter.startswith("q="):
                    try:
                        return float(parameter[2:])
                    except ValueError:
                        return 0.0
            return 1.0
    return 0.0
