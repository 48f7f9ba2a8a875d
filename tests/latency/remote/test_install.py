"""`pinnace bench --device --install`: Pinnace on a machine that has only Python, over a real sshd."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pinnace.latency import report
from pinnace.latency.remote import install as installing
from pinnace.latency.remote.install import DevicePython, download, inspect
from pinnace.latency.remote.ssh import Address, Ssh
from pinnace.models.errors import MissingDependency, ServerError, UsageError
from pinnace.serving.packaging.wheel import write_wheel
from support.tiny_bundle import build_bundle

pytestmark = pytest.mark.slow

BRIEF = ("--duration", "0.2", "--min-queries", "5", "--rounds", "1", "--variant", "onnx-fp32")
PI = {
    "python_full_version": "3.10.12",
    "python_version": "3.10",
    "implementation_name": "cpython",
    "platform_machine": "aarch64",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
}


def metadata_wheel(folder: Path, name: str, *requires: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{lines}\n"
        )
    return path


def test_conditions_are_those_of_the_device_and_not_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = {
        "runtime": ("core>=2", "tomli ; python_version < '3.11'", "other ; platform_machine == 'x86_64'"),
        "core": (),
        "tomli": (),
        "pip": (),
    }
    asked: list[str] = []

    def fetch(found: DevicePython, requirements, folder: Path) -> None:
        for line in requirements:
            asked.append(line)
            name = line.partition("=")[0].partition(">")[0]
            metadata_wheel(folder, name, *index[name])

    monkeypatch.setattr(installing, "_pip_download", fetch)
    own = metadata_wheel(
        tmp_path,
        "pinnace",
        "core",
        "runtime>=1 ; extra == 'cpu'",
        "heavy ; platform_machine == 'x86_64' and extra == 'cpu'",
        "server ; extra == 'serve'",
    )
    folder = tmp_path / "wheels"
    folder.mkdir()
    pins = "core==2.5 ; python_version < '3.11'\ncore==3.0 ; python_version >= '3.11'\nruntime==1.2\n"
    wheels = download(DevicePython("python3", PI, 31), own, pins, folder)
    assert sorted(asked) == ["core==2.5", "pip", "runtime==1.2", "tomli"]
    assert [path.name.partition("-")[0] for path in wheels] == ["pinnace", "core", "pip", "runtime", "tomli"]
    index["server"] = ()
    more = download(DevicePython("python3", PI, 31), own, pins, folder, ("cpu", "serve"))
    assert [path.name.partition("-")[0] for path in more] == [
        *("pinnace", "core", "pip", "runtime", "server", "tomli")
    ]


def test_wheels_of_the_glibc_that_is_there() -> None:
    assert DevicePython("python3", PI, 19).platforms == [
        "manylinux_2_19_aarch64",
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    ]


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ("echo", MissingDependency, "is no Python that runs"),
        (
            """echo '{"python_version": "3.9", "python_full_version": "3.9.2",
            "glibc": ["glibc", "2.31"]}' """,
            MissingDependency,
            "is too old",
        ),
        (
            """echo '{"python_version": "3.12", "sys_platform": "linux", "platform_system": "Linux",
            "glibc": ["", ""]}'""",
            UsageError,
            "something else",
        ),
    ],
)
def test_a_python_that_will_not_do(device, tmp_path: Path, answer: str, error: type, sentence: str) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    with pytest.raises(error, match=sentence):
        inspect(Ssh(Address.parse(device.url)), str(program))


def test_a_wheel_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    odd = DevicePython("python3", {**PI, "platform_machine": "pdp11"}, 31)
    with pytest.raises(ServerError, match=r"a wheel for Python 3\.10 on pdp11 cannot be had"):
        installing._pip_download(odd, ["numpy==2.2.6"], tmp_path)


def test_a_bare_python_gets_an_environment_of_its_own(
    pinnace, bundle: Path, device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            tmp_path,
            "typing-extensions",
        ],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip("no package index can be reached from here")
    # The device is this machine, so it has nothing of ours if its Python is the one below our environment.
    bare = Path(sys.base_prefix, "bin", "python3")
    out = tmp_path / "r.json"
    asked = ("--device", device.url, "--device-python", bare, "--install", "--report", out)
    done = pinnace("bench", bundle, *BRIEF, *asked)
    assert done.status == 0, done.err
    assert "installing Pinnace on" in done.err
    (environment,) = device.cache.glob("pinnace/device/environments/*")
    assert (environment / "venv/bin/python").exists()
    assert not (environment / "wheels").exists()
    made = report.read(out)
    assert "torch" not in made.device.packages
    # The second time it is there.
    monkeypatch.setattr(installing, "download", lambda *_: pytest.fail("it downloads again"))
    again = pinnace("bench", bundle, *BRIEF, *asked)
    assert again.status == 0, again.err
    assert "installing" not in again.err
    # `tune` has the same one, unless it confirms on a server, for which there is more to install.
    tiny = build_bundle(tmp_path / "tiny.bundle")
    brief = ("--runtime", "onnxruntime", "--budget", "1s", *asked[:5])
    tuned = pinnace("tune", tiny, *brief, "--no-confirm")
    assert tuned.status == 0, tuned.err
    assert (tiny / "profile.127.0.0.1.json").is_file()
    extras: list[tuple[str, ...]] = []

    def refuse(found: DevicePython, wheel: Path, pins: str, folder: Path, wanted: tuple[str, ...]) -> None:
        extras.append(wanted)
        raise ServerError("no index")

    monkeypatch.setattr(installing, "download", refuse)
    assert "no index" in pinnace("tune", tiny, *brief).err
    assert extras == [("cpu", "serve")]


@pytest.mark.parametrize("verb", ["bench", "tune"])
def test_it_needs_a_device(pinnace, bundle: Path, verb: str) -> None:
    done = pinnace(verb, bundle, "--install")
    assert done.status == 2
    assert "--install is about another machine" in done.err


def test_our_own_wheel_says_what_it_needs(tmp_path: Path) -> None:
    lines = installing._requirements(write_wheel(tmp_path))
    assert any(line.startswith("numpy") for line in lines)
    assert any(line.startswith("onnxruntime") and "cpu" in line for line in lines)
