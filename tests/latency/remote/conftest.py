"""A real `sshd` on the loopback, with keys and a home of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""


@dataclass
class Device:
    """A machine to reach by ssh: this one.

    Attributes:
        url: for `--device`.
        python: for `--device-python`.
        cache: where it keeps what a bench leaves.
        daemon: the process of sshd, whose children are the connections.
    """

    url: str
    python: str
    cache: Path
    daemon: subprocess.Popen

    @property
    def runs(self) -> list[Path]:
        return sorted(self.cache.glob("pinnace/device/runs/*"))

    def connections(self) -> list[int]:
        """The processes that serve connections now."""
        import psutil

        return [child.pid for child in psutil.Process(self.daemon.pid).children()]


@pytest.fixture(scope="module")
def device(tmp_path_factory) -> Iterator[Device]:
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None] + ["sshd"] * (not SSHD)
    if missing:
        pytest.skip(f"no {', '.join(missing)} here (on Debian: apt-get install openssh-server)")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=20
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks its unprivileged half in
    cache = folder / "cache"
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\n"
        f"SetEnv XDG_CACHE_HOME={cache}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  StrictHostKeyChecking accept-new\n"
    )
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if daemon.poll() is not None or time.monotonic() > until:
                pytest.skip(f"sshd does not start here: {(folder / 'log').read_text()[-300:]}")
            time.sleep(0.05)
    before = os.environ.get("PINNACE_SSH")
    os.environ["PINNACE_SSH"] = f"ssh -F {folder}/ssh_config"
    yield Device(f"ssh://{getpass.getuser()}@127.0.0.1:{port}", sys.executable, cache, daemon)
    if before is None:
        del os.environ["PINNACE_SSH"]
    else:
        os.environ["PINNACE_SSH"] = before
    daemon.terminate()
    daemon.wait(20)
