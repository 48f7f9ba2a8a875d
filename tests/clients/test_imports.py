"""What importing the clients costs, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pinnace.clients
from support.stub_server import Stub

BLOCKED = ("numpy", "PIL", "torch", "typer", "rich", "click", "pygments", "psutil", "pydantic_settings")

# Everything but httpx, pydantic and what they bring is made impossible to import.
ALONE = f"""
import asyncio, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(name + " is not to be imported")

sys.meta_path.insert(0, Blocked())
from pinnace.clients import AsyncClient, Client, Refused

with Client(sys.argv[1]) as client:
    assert client.classify(b"image").predictions[0].label == "red"

async def ask():
    async with AsyncClient(sys.argv[1]) as client:
        return await client.classify(b"image")

assert asyncio.run(ask()).predictions[0].label == "red"
print(sorted(m for m in sys.modules if m.startswith("pinnace.models.")))
"""


def test_the_clients_need_httpx_and_pydantic_alone(stub: Stub) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, stub.url], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    needed = [f"pinnace.models.{name}" for name in ("answer", "concurrency", "errors", "printable")]
    assert done.stdout == f"{needed}\n"


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys, pinnace.clients; print([m for m in sys.argv[1:] if m in sys.modules])"
    modules = ["httpx", "pydantic", *BLOCKED]
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_what_is_public_is_there_and_nothing_else_is() -> None:
    for name in pinnace.clients.__all__:
        assert getattr(pinnace.clients, name).__name__ == name
    assert set(pinnace.clients.__all__) <= set(dir(pinnace.clients))
    assert not hasattr(pinnace.clients, "Cleint")
