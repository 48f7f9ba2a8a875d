"""A pull that is killed again and again: nothing half is ever in its place, and each one goes on.

    python benchmarks/pull_kills.py BUNDLE [--moments 20] [--seconds 3]

Serves the bundle's folder on loopback, slowly, and kills the processes that pull it into an empty cache, each
when a little more was sent than to the one before. Then one pulls it to its end. Prints how much was sent in
all, beside the size of the bundle, and fails where the cache ever had a bundle that is not whole.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.transfer import file_hashes
from pinnace.models.files import size_of, size_text

PULL = """
import sys
from pinnace.models.bundle.anywhere import open_bundle_at
print(open_bundle_at(sys.argv[1]).folder)
"""
PIECE = 1 << 16


class Slow(BaseHTTPRequestHandler):
    """Sends files piece by piece, so that all of them would take some seconds."""

    sent = 0

    def __init__(self, *arguments: Any, folder: Path, bytes_per_second: float) -> None:
        self.folder, self.bytes_per_second = folder, bytes_per_second
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Send a file, from the byte that is asked for."""
        file = self.folder / self.path.removeprefix("/b/")
        if not file.is_file():
            self.send_error(404)
            return
        data, given = file.read_bytes(), self.headers.get("Range")
        start = int(given.removeprefix("bytes=").rstrip("-")) if given else 0
        self.send_response(206 if given else 200)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        for at in range(start, len(data), PIECE):
            try:
                self.wfile.write(data[at : at + PIECE])
            except ConnectionError:
                return
            Slow.sent += len(data[at : at + PIECE])
            time.sleep(PIECE / self.bytes_per_second)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="what a whole pull would take")
    chosen = parser.parse_args()
    size = size_of(chosen.bundle)
    opened = Bundle.open(chosen.bundle)
    size_of_files = sum((opened.folder / name).stat().st_size for name in file_hashes(opened))
    handler = functools.partial(Slow, folder=chosen.bundle, bytes_per_second=size / chosen.seconds)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/b"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PINNACE_CACHE": cache}
        command = [sys.executable, "-c", PULL, url]
        ended = 0
        for moment in range(chosen.moments):
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            # Of twenty, sixteen while files come, and four while they are compared and moved into place.
            share = (moment + 1) / (0.8 * chosen.moments)
            while process.poll() is None and Slow.sent < min(share, 1) * size_of_files:
                time.sleep(0.001)
            time.sleep(max(0.0, share - 1) * 0.6)
            ended += process.poll() is not None
            process.kill()
            process.wait()
            for folder in Path(cache, "bundles").glob("*"):
                if not folder.name.startswith("."):
                    Bundle.open(folder).check_files()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        Bundle.open(Path(done.stdout.strip())).check_files()
        left = [
            path for path in Path(cache).rglob("*") if path.name.startswith(".") or path.suffix == ".part"
        ]
    killed = chosen.moments - ended
    print(f"{killed} killed, {ended} had ended by then; the bundle is whole")
    print(
        f"sent {size_text(Slow.sent)} for a bundle of {size_text(size)}; {len(left)} files were left behind"
    )


if __name__ == "__main__":
    main()
