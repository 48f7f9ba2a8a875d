"""A plain HTTP server of a bundle's folder, which a test can have cut, stall, lie and send elsewhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.ports import free_port


class Site(ThreadingHTTPServer):
    """Serves a folder; `act` may answer a request itself, and then returns True."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", free_port()), Page)
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        self.act: Callable[[Page, str], bool] = lambda page, name: False

    @classmethod
    @contextlib.contextmanager
    def of(cls, folder: Path) -> Iterator[Site]:
        """The site while it runs."""
        server = cls(folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
        server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/b"


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        name = self.path.removeprefix("/b/")
        self.server.asked.append((name, self.headers.get("Range")))
        if self.server.act(self, name):
            return
        file = self.server.folder / name
        if not file.is_file():
            self.send_error(404)
            return
        data, given = file.read_bytes(), self.headers.get("Range")
        start = 0 if given is None else int(given.removeprefix("bytes=").rstrip("-"))
        self.send(data[start:], 206 if start else 200, start, len(data))

    def send(self, data: bytes, status: int = 200, start: int = 0, whole: int = 0, length: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass
