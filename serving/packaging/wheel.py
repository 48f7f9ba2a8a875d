"""The wheel of the Pinnace that runs: from its own files, so no checkout and no builder is needed."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import zipfile
from pathlib import Path

from pinnace.models.install import own_distribution

ROOMS = ("models", "export", "latency", "serving", "clients", "cli")
_LEFT_OUT = {"__pycache__", "js"}  # `clients/js` of a checkout is a package of its own, for npm
_TIME = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel


def write_wheel(folder: Path) -> Path:
    """Write the wheel of the installed Pinnace into a folder, and return its path.

    The layout is that of https://packaging.python.org/specifications/binary-distribution-format/.
    """
    installed = own_distribution()
    name = f"pinnace-{installed.version}"
    files = _package_files()
    wheel = "Wheel-Version: 1.0\nGenerator: pinnace\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{name}.dist-info/WHEEL"] = wheel.encode()
    for file in ("METADATA", "entry_points.txt"):
        files[f"{name}.dist-info/{file}"] = (installed.read_text(file) or "").encode()
    record = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items()]
    record.append(f"{name}.dist-info/RECORD,,")
    files[f"{name}.dist-info/RECORD"] = ("\n".join(record) + "\n").encode()
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, data in files.items():
            archive.writestr(_entry(inside), data)
    return path


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _package_files() -> dict[str, bytes]:
    found = {}
    for room in ROOMS:
        spec = importlib.util.find_spec(f"pinnace.{room}")
        assert spec is not None
        assert spec.origin is not None
        top = Path(spec.origin).parent
        for path in sorted(top.rglob("*")):
            inside = path.relative_to(top)
            if path.is_file() and not _LEFT_OUT.intersection(inside.parts):
                found[f"pinnace/{room}/{inside.as_posix()}"] = path.read_bytes()
    return found


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
