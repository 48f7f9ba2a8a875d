"""`--install`: the Pinnace that runs here, with the versions it was tested with, for a device."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pinnace.latency.remote.install import install
from pinnace.latency.remote.run import Notify
from pinnace.latency.remote.ssh import Ssh
from pinnace.serving.packaging.locks import read_lock
from pinnace.serving.packaging.wheel import write_wheel


def install_on(ssh: Ssh, python: str | None, notify: Notify, extras: tuple[str, ...] = ("cpu",)) -> str:
    """Install it with these extras, unless it is there; return the path of its Python on the device.

    Raises:
        As `install`.
    """
    pins = "".join(f"{pin.line(hashes=False)}\n" for pin in read_lock("cpu"))
    with tempfile.TemporaryDirectory(prefix="pinnace-wheel-") as folder:
        return install(ssh, write_wheel(Path(folder)), pins, python, notify, extras)
