"""A server starts where its user has no home, and says what is missing where nothing can be written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from pinnace.models.errors import UsageError
from pinnace.serving.bentoml.home import ensure_folders


def test_a_home_that_cannot_be_made_goes_to_the_temporary_folder(start_server: Any, tmp_path: Path) -> None:
    nowhere = "/proc/nonexistent"  # where root cannot make a folder either
    variables = {"HOME": nowhere, "BENTOML_HOME": ""}
    server = start_server(workers=1, concurrency=1, drain=0, folder=tmp_path, variables=variables)
    server.wait_until_ready()
    assert httpx.get(f"{server.url}/livez").status_code == 200
    assert list(tmp_path.glob("pinnace-server-*/bentoml"))
    server.stop()
    assert not list(tmp_path.glob("pinnace-*"))


def test_no_temporary_folder_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(UsageError) as caught:
        ensure_folders()
    assert str(caught.value).startswith(
        "there is no folder for temporary files that can be written\n  help: "
    )
