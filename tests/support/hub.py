"""A server that answers as the Hugging Face Hub does where `huggingface_hub` reads a repository.

Its commits are folders on this disk; branches and tags name one of them. Files come from another path, as
those of the hub do, and by the bytes that are asked for.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from support.ports import free_port


class Hub(ThreadingHTTPServer):
    """Holds one repository, `owner/name`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), _Page)
        self.commits: dict[str, Path] = {}
        self.names: dict[str, str] = {}
        self.token: str | None = None
        self.status = 0  # answered to everything, where it is set
        self.asked: list[str] = []
        self.before: Callable[[str], object] = lambda path: None  # called before each answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, folder: Path, *names: str) -> str:
        """A commit of what is in a folder, to which branches or tags lead now."""
        sha = sha1(str(folder).encode()).hexdigest()
        self.commits[sha] = folder
        self.names |= dict.fromkeys(names, sha)
        return sha

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Hub]:
        hub = cls()
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()
        hub.server_close()


class _Page(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.before(path)
        hub.asked.append(path)
        words = path.strip("/").split("/")
        if hub.status:
            self._answer(hub.status, {"error": "no"})
        elif hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, {"error": "Invalid username or password."}, code="RepoNotFound")
        elif words[:1] == ["cdn"]:
            self._file(hub.commits[words[1]] / "/".join(words[2:]))
        elif words[:2] == ["api", "models"] and words[2:4] == ["owner", "name"]:
            self._api(words[4:])
        elif words[:2] == ["owner", "name"] and words[2:3] == ["resolve"]:
            self._resolve(words[3], "/".join(words[4:]))
        else:
            self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(404, {"error": "not imitated"})

    def _sha(self, revision: str) -> str | None:
        sha = self.server.names.get(revision, revision)
        return sha if sha in self.server.commits else None

    def _api(self, words: list[str]) -> None:
        what, revision = words[:1], words[1] if len(words) > 1 else "main"
        sha = self._sha(revision)
        if sha is None:
            self._answer(404, {"error": f"Invalid rev id: {revision}"}, code="RevisionNotFound")
        elif what in ([], ["revision"]):
            facts = {"_id": "1", "id": "owner/name", "sha": sha, "siblings": [], "tags": [], "private": False}
            self._answer(200, {**facts, "downloads": 0, "likes": 0})
        elif what == ["tree"]:
            folder = self.server.commits[sha]
            inside = folder / "/".join(words[2:])
            if not inside.is_dir():
                self._answer(404, {"error": "no such path"}, code="EntryNotFound")
                return
            rows = [
                {
                    "type": "file" if path.is_file() else "directory",
                    "path": path.relative_to(folder).as_posix(),
                    "size": path.stat().st_size if path.is_file() else 0,
                    "oid": sha1(str(path).encode()).hexdigest(),
                }
                for path in sorted(inside.iterdir())
            ]
            self._answer(200, rows)
        else:
            self._answer(404, {"error": "not imitated"})

    def _resolve(self, revision: str, name: str) -> None:
        sha = self._sha(revision)
        if sha is None or not (self.server.commits[sha] / name).is_file():
            self._answer(404, {"error": "Entry not found"}, code="EntryNotFound")
            return
        self.send_response(302)
        self.send_header("Location", f"{self.server.url}/cdn/{sha}/{name}?X-Amz-Signature=SIGNED")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, path: Path) -> None:
        data, given = path.read_bytes(), self.headers.get("Range")
        first, last = 0, len(data) - 1
        if given is not None:
            begin, _, end = given.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        self.send_response(200 if given is None else 206)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def _answer(self, status: int, value: Any, code: str | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass
