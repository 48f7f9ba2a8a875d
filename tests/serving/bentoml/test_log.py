"""The log of a worker, as BentoML and ours set it up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WORKER = """
import logging
from bentoml._internal.log import configure_server_logging
configure_server_logging()
from pinnace.serving import service
service._log_to_stderr()
for name in ("bentoml", "uvicorn.error", "circus", "pinnace.serving", "other"):
    logging.getLogger(name).error("a line of %s", name)
"""


def test_every_line_stands_once_and_on_standard_error(bundle: Path, environment: dict[str, str]) -> None:
    given = {**os.environ, **environment, "PINNACE_BUNDLE": str(bundle)}
    done = subprocess.run(
        [sys.executable, "-c", WORKER], env=given, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""
    lines = [line.partition("a line of ")[2] for line in done.stderr.splitlines() if "a line of" in line]
    assert lines == ["bentoml", "uvicorn.error", "circus", "pinnace.serving", "other"]
