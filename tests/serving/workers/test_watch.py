"""A server of two workers that follows a URL and a folder: what is put there answers, if it is good."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from pinnace.models.bundle.bundle import Bundle
from support.command_line import PINNACE, run_here
from support.tiny_bundle import build_bundle, encode
from support.web_site import Site

pytestmark = pytest.mark.slow

_PATIENCE = 60.0


class Followed:
    """A server, the URL and the folder that it follows, and where their bundles are."""

    def __init__(self, server: Any, site: Site, folder: Path, shelf: Path) -> None:
        self.server = server
        self.site = site
        self.folder = folder
        self.cache = shelf / "cache"
        self._shelf = shelf
        self._made = 0

    def make(self, **options: Any) -> Path:
        """A new bundle."""
        self._made += 1
        created = f"2026-03-{self._made:02}T00:00:00Z"
        return build_bundle(self._shelf / f"{self._made}.bundle", created=created, **options)

    def answering(self) -> dict[str, set[str]]:
        """The versions that answer, by model; both workers are asked."""
        found: dict[str, set[str]] = {}
        for _ in range(12):
            for model in httpx.get(f"{self.server.url}/models", timeout=20).json()["models"]:
                found.setdefault(model["name"], set()).add(model["version"])
        return found

    def counts(self, metric: str) -> dict[tuple[str, ...], float]:
        text = httpx.get(f"{self.server.url}/metrics", timeout=20).text
        found = {}
        for labels, value in re.findall(rf"^{metric}\{{(.*?)\}} (\S+)$", text, re.MULTILINE):
            found[tuple(re.findall('"(.*?)"', labels))] = float(value)
        return found

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.server.process.pid).children()]

    def wait(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not what():
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture(scope="module")
def followed(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    shelf = tmp_path_factory.mktemp("followed")
    folder = build_bundle(shelf / "local.bundle", name="local")
    with Site.of(build_bundle(shelf / "remote.bundle")) as site:
        url = site.url.replace("//", "//me:SECRET@")
        server = start_server(
            [*PINNACE, "serve", url, str(folder)], workers=2, drain=0, watch=1, cache=shelf / "cache"
        )
        server.wait_until_ready()
        yield Followed(server, site, folder, shelf)
        server.stop()


def test_another_bundle_at_the_url_is_taken_up(followed: Followed) -> None:
    first = Bundle.open(followed.site.folder).version
    assert followed.answering()["tiny"] == {first}
    followed.site.folder = followed.make()
    second = Bundle.open(followed.site.folder).version
    followed.wait(lambda: followed.answering()["tiny"] == {second})
    answer = httpx.post(f"{followed.server.url}/classify", content=encode((250, 10, 20)), timeout=20).json()
    assert answer["version"] == second
    assert followed.counts("pinnace_bundle_checks_total")["tiny", "changed"] == 1


def test_a_bad_one_is_refused_once_and_counted_and_the_old_one_answers(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINNACE_CACHE", str(followed.cache))
    (before,) = followed.answering()["tiny"]
    good = followed.site.folder
    followed.site.folder = followed.make(weights=np.ones((5, 3), dtype=np.float32))
    followed.wait(lambda: followed.counts("pinnace_bundle_checks_total").get(("tiny", "refused"), 0) >= 3)
    assert followed.answering()["tiny"] == {before}
    assert followed.counts("pinnace_reloads_total")["tiny", "reload_failed"] == 1
    assert followed.server.log.count("now is refused") == 1
    # One that ends is replaced by one that answers as the others do.
    worker = followed.workers()[0]
    os.kill(worker, 9)
    followed.wait(lambda: worker not in followed.workers() and len(followed.workers()) == 2)
    followed.server.wait_until_ready()
    assert followed.answering()["tiny"] == {before}
    # Nor does it come back where the network is gone.
    listed = run_here("cache", "--json", folder=followed.folder.parent).json["bundles"]
    assert before in [row["version"] for row in listed]
    assert Bundle.open(followed.site.folder).version not in [row["version"] for row in listed]
    followed.site.folder = good


def test_a_folder_of_this_machine_is_followed(followed: Followed) -> None:
    fresh = followed.make(name="local")
    version = Bundle.open(fresh).version
    followed.folder.rename(followed.folder.with_name("old"))
    shutil.copytree(fresh, followed.folder)
    followed.wait(lambda: followed.answering()["local"] == {version})


def test_where_the_store_is_silent_what_was_there_answers_on(followed: Followed) -> None:
    (before,) = followed.answering()["tiny"]
    followed.site.act = lambda page, name: page.connection.close() is None
    followed.wait(lambda: followed.counts("pinnace_bundle_checks_total").get(("tiny", "unreachable"), 0) >= 2)
    response = httpx.post(f"{followed.server.url}/models/tiny/reload", timeout=60)
    assert response.status_code == 409
    assert "cannot be reached" in response.json()["error"]["message"]
    assert followed.answering()["tiny"] == {before}
    followed.site.act = lambda page, name: False
    followed.site.folder = followed.make()
    second = Bundle.open(followed.site.folder).version
    assert httpx.post(f"{followed.server.url}/models/tiny/reload", timeout=60).json()["version"] == second
    followed.wait(lambda: followed.answering()["tiny"] == {second})
    assert "SECRET" not in followed.server.log
