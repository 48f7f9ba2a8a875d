"""The requirements of a package: every distribution at the version that was tested, with its hashes.

`make locks` writes the files in `locked/`, one for each flavour and for all platforms and Pythons.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pinnace.models.runtimes import all_runtimes

Device = Literal["cpu", "cuda"]

# The extras of Pinnace that each flavour needs: BentoML's requirements cannot name those of a local wheel.
EXTRAS: dict[Device, tuple[str, ...]] = {"cpu": ("cpu", "serve", "sign"), "cuda": ("gpu", "serve", "sign")}


@dataclass(frozen=True)
class Pin:
    """One distribution at one version.

    Attributes:
        name: as PyPI writes it.
        version: the only one that is allowed.
        marker: where it is needed, as in a requirement; empty where it always is.
        hashes: SHA-256 of each of its files, 64 hexadecimal digits.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def line(self, *, hashes: bool) -> str:
        """The requirement as `pip` reads it."""
        text = f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")
        return " \\\n    --hash=sha256:".join([text, *(self.hashes if hashes else ())])


def read_lock(device: Device) -> list[Pin]:
    """What a flavour installs besides Pinnace itself, sorted by name."""
    text = (files("pinnace.serving.packaging") / "locked" / f"{device}.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    found = []
    for entry in entries:
        if entry.startswith("#"):
            continue
        requirement, *rest = entry.split("--hash=sha256:")
        named, _, marker = requirement.rstrip("\\\n ").partition(";")
        name, _, version = named.strip().partition("==")
        hashes = tuple(one.rstrip("\\\n ") for one in rest)
        found.append(Pin(name, version, marker.strip(), hashes))
    return found


def pinned_requirements(device: Device, wheel: Path, extra: Sequence[str] = (), place: str = "") -> str:
    """A `requirements.txt` with the wheel of Pinnace and what was tested with it.

    Args:
        device: the flavour.
        wheel: Pinnace's wheel.
        extra: more requirements, of runtimes that profiles name. One that is locked is installed whatever the
            machine. Another one has no hash, and pip takes hashes for all or for none.
        place: where the wheel stands from where `pip` is started, with a slash at the end.
    """
    pins = read_lock(device)
    names = [(line, re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in extra]
    everywhere = {name for _, name in names} | {f"{name}-telemetry" for _, name in names}
    known = {pin.name for pin in pins}
    unknown = [line for line, name in names if name not in known]
    pins = [replace(pin, marker="") if pin.name in everywhere else pin for pin in pins]
    own = f"./{place}{wheel.name}"
    if not unknown:
        own += f" \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    return "\n".join([own, *(pin.line(hashes=not unknown) for pin in pins), *unknown]) + "\n"


def runtime_extras(runtimes: Sequence[str]) -> set[str]:
    """The extras of runtimes that profiles name, without that of ONNX Runtime, which each flavour has."""
    extras = {all_runtimes()[name].extra for name in runtimes if name in all_runtimes()}
    return {extra for extra in extras if extra is not None} - {"cpu", "gpu"}
