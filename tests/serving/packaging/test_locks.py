"""The pinned requirements of a package: what is tested, all of it, with hashes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pinnace.serving.packaging.bento import requirements
from pinnace.serving.packaging.locks import Device, pinned_requirements, read_lock

# Where every test runs; for other Pythons, constraints.txt names only what matters.
LINUX = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}
LINUX |= {"platform_machine": "x86_64", "os_name": "posix", "platform_system": "Linux"}
ROOT = Path(__file__).parents[3]


def versions_of_constraints() -> dict[str, set[str]]:
    """The versions in `constraints.txt`, by distribution."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if "==" in line and not line.startswith("#"):
            one = Requirement(line)
            (exactly,) = one.specifier
            found.setdefault(canonicalize_name(one.name), set()).add(exactly.version)
    return found


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_locked_is_what_is_tested(device: Device) -> None:
    versions = versions_of_constraints()
    pins = read_lock(device)
    assert len(pins) > 80
    for pin in pins:
        marker = Requirement(pin.line(hashes=False)).marker
        assert pin.hashes
        assert all(re.fullmatch("[0-9a-f]{64}", one) for one in pin.hashes)
        known = versions.get(canonicalize_name(pin.name))
        if marker is not None and not marker.evaluate(dict(LINUX)):
            continue
        assert known is None or pin.version in known, f"{pin.name}: run make locks"
    # Of what is not among the constraints nothing was tested: the GPU's packages, and those of other systems.
    unknown = {pin.name for pin in pins if canonicalize_name(pin.name) not in versions}
    assert len(unknown) < 12, unknown


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_that_the_extras_name_is_locked(device: Device) -> None:
    pins: dict[str, set[str]] = {}
    for pin in read_lock(device):
        pins.setdefault(canonicalize_name(pin.name), set()).add(pin.version)
    for line in requirements(device):
        wanted = Requirement(line)
        if wanted.marker is not None and "python_version" in str(wanted.marker):
            continue
        versions = pins[canonicalize_name(wanted.name)]
        assert all(wanted.specifier.contains(version) for version in versions), f"{line}: run make locks"


def test_the_wheel_has_a_hash_and_a_runtime_of_a_profile_is_needed_everywhere(tmp_path: Path) -> None:
    wheel = tmp_path / "pinnace-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    text = pinned_requirements("cpu", wheel, place="wheels/")
    digest = hashlib.sha256(b"wheel").hexdigest()
    assert text.startswith(f"./wheels/{wheel.name} \\\n    --hash=sha256:{digest}\n")
    assert "openvino==" in text
    everywhere = pinned_requirements("cpu", wheel, ["openvino>=2025.0"])
    assert re.search(r"^openvino==\S+ \\$", everywhere, re.MULTILINE)
    assert not re.search(r"^openvino==\S+ \\$", text, re.MULTILINE)
    # pip takes hashes for all or for none.
    without = pinned_requirements("cuda", wheel, ["tensorrt>=10.3"])
    assert "--hash" not in without
    assert without.endswith("tensorrt>=10.3\n")
