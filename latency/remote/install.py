"""`--install`: Pinnace and what it needs, into an environment of its own on a device that has only Python.

The wheels are downloaded here, for the device's Python and machine, and go there over ssh, so the device
needs no index and no pip.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import IO

from pinnace.latency.remote.run import ROOT, Notify
from pinnace.latency.remote.ssh import Ssh
from pinnace.models.errors import MissingDependency, ServerError, UsageError
from pinnace.models.install import install_packages

OLDEST = (3, 10)
# The oldest glibc of a wheel's name; https://peps.python.org/pep-0600/
_GLIBC = 17

_ASK = (
    "import json, os, platform, sys; v = platform.python_version(); print(json.dumps(dict("
    "python_full_version=v, python_version='.'.join(v.split('.')[:2]), "
    "implementation_name=sys.implementation.name, "
    "platform_machine=platform.machine(), sys_platform=sys.platform, platform_system=platform.system(), "
    "os_name=os.name, platform_python_implementation=platform.python_implementation(), "
    "glibc=platform.libc_ver())))"
)


@dataclass(frozen=True)
class DevicePython:
    """The Python of a device.

    Attributes:
        program: how it is called there.
        markers: of its environment, as requirements name them, such as `platform_machine`.
        glibc: the minor version of glibc 2.
    """

    program: str
    markers: Mapping[str, str]
    glibc: int

    @property
    def platforms(self) -> list[str]:
        """The names of platforms whose wheels it takes, the newest first."""
        machine = self.markers["platform_machine"]
        return [f"manylinux_2_{minor}_{machine}" for minor in range(self.glibc, _GLIBC - 1, -1)] + [
            f"manylinux2014_{machine}",
            f"linux_{machine}",
        ]


def install(
    ssh: Ssh, wheel: Path, pins: str, python: str | None, notify: Notify, extras: Sequence[str] = ("cpu",)
) -> str:
    """Make an environment with Pinnace on the device, unless it is there already.

    Args:
        ssh: the device.
        wheel: Pinnace's own.
        pins: versions of distributions, one requirement a line; others come in the newest that fits.
        python: of the device, or None for its `python3`.
        notify: called with a sentence before what takes time.
        extras: of Pinnace.

    Returns:
        The path of the environment's Python there.

    Raises:
        MissingDependency: the device has no Python, or too old a one; or pip is not installed here.
        UsageError: the device is no Linux with glibc.
        ServerError: the wheels cannot be had or installed; or there is no connection.
    """
    found = inspect(ssh, python or "python3")
    parts = [wheel.read_bytes(), ",".join(extras).encode(), pins.encode()]
    parts.append(json.dumps(dict(found.markers), sort_keys=True).encode())
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
    ready = _ready(ssh, key)
    if ready is not None:
        return ready
    with tempfile.TemporaryDirectory(prefix="pinnace-wheels-") as folder:
        machine, version = found.markers["platform_machine"], found.markers["python_version"]
        notify(f"downloading what {ssh.address} needs: Python {version}, {machine}")
        wheels = download(found, wheel, pins, Path(folder), extras)
        size = sum(path.stat().st_size for path in wheels) / 1e6
        notify(f"installing Pinnace on {ssh.address}: {len(wheels)} wheels, {size:.0f} MB")
        _send(ssh, found, key, wheels, extras)
    ready = _ready(ssh, key)
    if ready is None:
        raise ServerError(f"Pinnace was installed on {ssh.address}, and does not start there")
    return ready


def inspect(ssh: Ssh, python: str) -> DevicePython:
    """Ask a Python of the device what it is.

    Raises:
        MissingDependency, UsageError: see `install`.
    """
    status, out = ssh.shell(f"exec {shlex.quote(python)} -c {shlex.quote(_ASK)}")
    try:
        markers = json.loads(out)
        library, version = markers.pop("glibc")
    except (ValueError, KeyError):
        raise MissingDependency(
            f"on {ssh.address} {python} is no Python that runs",
            got=f"status {status}",
            hint="--device-python PATH",
        ) from None
    if tuple(map(int, markers["python_version"].split("."))) < OLDEST:
        raise MissingDependency(
            f"the Python of {ssh.address} is too old",
            expected=f"Python {OLDEST[0]}.{OLDEST[1]} or newer",
            got=markers["python_full_version"],
            hint="--device-python PATH names another",
        )
    if markers["sys_platform"] != "linux" or library != "glibc":
        raise UsageError(
            f"--install knows the wheels of Linux with glibc, and {ssh.address} has something else",
            got=f"{markers['platform_system']} {library}".strip(),
            hint="install Pinnace there, and name its Python with --device-python",
        )
    return DevicePython(python, markers, int(version.split(".")[1]))


def download(
    found: DevicePython, wheel: Path, pins: str, folder: Path, extras: Sequence[str] = ("cpu",)
) -> list[Path]:
    """Download the wheels of everything that Pinnace with these extras needs there, and pip.

    pip evaluates the conditions of requirements for the Python that runs it, so they are followed here: each
    round downloads what the metadata of the last one's wheels ask for.

    Raises:
        MissingDependency: pip or packaging is not installed here.
        ServerError: a wheel cannot be had.
    """
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"--install needs the package {error.name}", hint=install_packages("packaging")
        ) from None
    markers = dict(found.markers)
    pinned: dict[str, str] = {}
    for line in pins.splitlines():
        if line.strip() and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(markers):
                pinned[canonicalize_name(pin.name)] = str(pin.specifier)
    known = {wheel: set(extras)}
    wanted = {"pip": "pip", **_asked(known, markers, pinned)}
    done: set[str] = set()
    while new := {name: line for name, line in wanted.items() if name not in done}:
        before = set(folder.iterdir())
        _pip_download(found, new.values(), folder)
        done |= set(new)
        arrived = {path: set[str]() for path in set(folder.iterdir()) - before}
        wanted |= {
            name: line for name, line in _asked(arrived, markers, pinned).items() if name not in wanted
        }
    return [wheel, *sorted(folder.iterdir())]


def _asked(
    wheels: Mapping[Path, set[str]], markers: Mapping[str, str], pinned: Mapping[str, str]
) -> dict[str, str]:
    """What wheels require there: a requirement by name, at its pinned version where it has one."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    for wheel, extras in wheels.items():
        for line in _requirements(wheel):
            each = Requirement(line)
            if each.marker is None or any(
                each.marker.evaluate({**markers, "extra": extra}) for extra in (extras or {""})
            ):
                name = canonicalize_name(each.name)
                found[name] = f"{each.name}{pinned.get(name) or each.specifier}"
    return found


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesHeaderParser().parsebytes(archive.read(name)).get_all("Requires-Dist") or []


def _pip_download(found: DevicePython, requirements: Iterable[str], folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--implementation", "cp"]
    command += ["--python-version", found.markers["python_version"], "--disable-pip-version-check"]
    command += [word for name in found.platforms for word in ("--platform", name)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise MissingDependency(
            "--install downloads with pip, which is not installed here", hint="python -m ensurepip"
        )
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
    machine = found.markers["platform_machine"]
    raise ServerError(
        f"a wheel for Python {found.markers['python_version']} on {machine} cannot be had",
        got=lines[-1].removeprefix("ERROR: "),
    )


def _ready(ssh: Ssh, key: str) -> str | None:
    """The environment's Python there, if Pinnace starts in it."""
    status, out = ssh.shell(
        f'{ROOT}cd "$root/environments/{key}/venv/bin" 2>/dev/null || exit 1\n'
        'python="$(pwd)/python"; "$python" -c "import pinnace.cli.main" >/dev/null 2>&1 || exit 1\n'
        'echo "$python"\n'
    )
    return None if status else out.decode().strip()


def _send(ssh: Ssh, found: DevicePython, key: str, wheels: Sequence[Path], extras: Sequence[str]) -> None:
    def pack(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as tar:
            for wheel in wheels:
                tar.add(wheel, arcname=f"wheels/{wheel.name}")

    folder = f'"$root/environments/{key}'
    script = f'{ROOT}rm -rf {folder}.part"; mkdir -p {folder}.part" && cd {folder}.part" && exec tar -xf -'
    status, _ = ssh.run(f"exec sh -c {shlex.quote(script)}", pack)
    if status:
        raise ServerError(f"the wheels cannot be unpacked on {ssh.address}: tar ended with status {status}")
    # Without pip: Debian leaves out what `venv` would make it from.
    status, out = ssh.shell(
        f'{ROOT}cd {folder}.part" || exit 1\n'
        f"{shlex.quote(found.program)} -m venv --without-pip venv 2>&1 || exit 1\n"
        "set -- wheels/pip-*.whl\n"
        'venv/bin/python "$1/pip" install --quiet --no-index --find-links wheels '
        f"--disable-pip-version-check 'pinnace[{','.join(extras)}]' 2>&1 || exit 1\n"
        f'rm -rf wheels {folder}"; cd .. && mv {key}.part {key}\n'
    )
    if status:
        last = (out.decode("utf-8", "replace").strip().splitlines() or [f"status {status}"])[-1]
        raise ServerError(f"Pinnace cannot be installed on {ssh.address}", got=last)
