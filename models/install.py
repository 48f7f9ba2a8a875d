"""The command that adds an extra to this copy of Pinnace, in the way in which it was installed.

No public index has a package `pinnace`, so `pip install 'pinnace[cpu]'` is right only where pip found it on
an index of the user's. Otherwise pip has written down where it came from: `direct_url.json`, PEP 610.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = "pinnace"


def install_line(*extras: str) -> str:
    """The command that installs extras of `pyproject.toml`, such as `cpu`, into this environment.

    A checkout, a folder, a wheel and a repository are named again, with the extras. Where the wheel is gone,
    as it may be in a bento's image, the packages of the extras are named instead.
    """
    try:
        found = own_distribution()
    except PackageNotFoundError:
        return "pip install " + shlex.quote(f"{_NAME}[{','.join(extras)}]")
    return f"{_installer(found)} {_what(found, extras)}"


def install_packages(*names: str) -> str:
    """The command that installs packages that are no extra of ours into this environment."""
    try:
        installer = _installer(own_distribution())
    except PackageNotFoundError:
        installer = "pip install"
    return " ".join([installer, *map(shlex.quote, names)])


def own_distribution() -> Distribution:
    """This copy of Pinnace, as it was installed.

    A checkout in which it was built has a `pinnace.egg-info` too, which Python finds first if it is started
    there. That says nothing of the way, and has its metadata under another name.

    Raises:
        PackageNotFoundError: it was not installed.
    """
    found = sorted(distributions(name=_NAME), key=lambda one: one.read_text("METADATA") is None)
    if not found:
        raise PackageNotFoundError(_NAME)
    return found[0]


def _what(found: Distribution, extras: tuple[str, ...]) -> str:
    origin: dict[str, Any] = json.loads(found.read_text("direct_url.json") or "{}")
    wanted = f"[{','.join(extras)}]"
    url = str(origin.get("url", ""))
    if not url:
        return shlex.quote(_NAME + wanted)
    if "vcs_info" in origin:
        return shlex.quote(f"{_NAME}{wanted} @ {origin['vcs_info'].get('vcs', 'git')}+{url}")
    parts = urlsplit(url)
    if parts.scheme != "file":
        return shlex.quote(f"{_NAME}{wanted} @ {url}")
    path = unquote(parts.path)
    if not Path(path).exists():
        return " ".join(map(shlex.quote, _packages(found, extras)))
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return editable + shlex.quote(path + wanted)


def _packages(found: Distribution, extras: tuple[str, ...]) -> list[str]:
    """What the extras require, as pip takes it; what is not for this machine keeps its marker."""
    packages = []
    for line in found.requires or ():
        package, _, marker = (part.strip() for part in line.partition(";"))
        if any(re.search(rf"""extra == ["']{extra}["']""", marker) for extra in extras):
            rest = re.sub(r"""(?: and )?extra == ["'][\w-]+["']""", "", marker).strip()
            packages.append(f"{package}; {rest}" if rest else package)
    return packages


def _installer(found: Distribution) -> str:
    """The command before what is installed: of the installer that was used, for this interpreter."""
    if (found.read_text("INSTALLER") or "").strip() == "uv":
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    pip = shutil.which("pip")
    if pip is not None and Path(pip).parent == Path(sys.executable).parent:
        return "pip install"
    if importlib.util.find_spec("pip") is None:
        return f"pip --python {shlex.quote(sys.executable)} install"
    return f"{shlex.quote(sys.executable)} -m pip install"
