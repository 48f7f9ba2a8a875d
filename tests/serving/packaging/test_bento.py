"""A bento holds what it needs, and serves with neither the checkout nor torch."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pinnace.cli.main import run
from pinnace.models import profile
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.models.profile import Configuration, Profile, ProfileFigures, this_machine
from pinnace.serving.packaging.bento import Bento, build_bento, requirements, safe_name
from pinnace.serving.packaging.locks import read_lock
from pinnace.serving.packaging.wheel import ROOMS, write_wheel
from pinnace.serving.settings import load_settings
from support.server import clean_environment
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
# What is imported from the bare folder comes before what is installed, and of torch there is none.
BARE = """
raise ImportError("torch is not here")
"""


@pytest.fixture(scope="module")
def two_variants(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle, with a second variant that needs torch."""
    folder = shutil.copytree(bundle, tmp_path_factory.mktemp("two") / "Tiny Net.bundle")
    shutil.copy(folder / "model.onnx", folder / "model.pt")
    opened = Bundle.open(folder)
    torch = dataclasses.replace(
        opened.variant(), name="torchscript-fp32", format="torchscript", file="model.pt"
    )
    manifest = dataclasses.replace(opened.manifest, variants=(*opened.manifest.variants, torch))
    (folder / "manifest.json").write_bytes(manifest.to_json())
    made = Bundle.open(folder)
    for name, runtime, changes in [
        ("profile.json", "onnxruntime", {}),
        ("profile.other.json", "openvino", {"cpu": "Abacus"}),
    ]:
        machine = dataclasses.replace(this_machine(runtime), **changes)
        tuned = Configuration("onnx-fp32", runtime, processes=1, batch=2)
        figures = ProfileFigures(100.0, 10.0)
        written = Profile(1, made.version, machine, tuned, "throughput", figures, "2026-11-26T00:00:00Z", "0")
        profile.write(written, folder, name)
    return made


@pytest.fixture(scope="module")
def bento(two_variants: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bento:
    return build_bento(two_variants, folder=tmp_path_factory.mktemp("bentos") / "tiny.bento")


def test_it_holds_only_the_variants_that_need_no_torch(bento: Bento) -> None:
    inside = Bundle.open(bento.folder / "src" / "tiny.bundle")
    inside.check_files()
    assert [variant.name for variant in inside.manifest.variants] == ["onnx-fp32"]
    assert not list(bento.folder.rglob("*.pt"))
    assert bento.bytes == sum(path.stat().st_size for path in bento.folder.rglob("*") if path.is_file())


def test_it_serves_without_the_checkout_and_without_torch(
    bento: Bento,
    start_server: Callable[..., Any],
    tmp_path: Path,
) -> None:
    copied = shutil.copytree(bento.folder, tmp_path / "elsewhere" / "copied")
    bare = tmp_path / "bare"
    (wheel,) = (copied / "src" / "wheels").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(bare)
    (bare / "torch.py").write_text(BARE)
    python = ["env", f"PYTHONPATH={bare}", sys.executable]
    which = [*python, "-c", "import pinnace.serving.http.app, pinnace.models.files as f; print(f.__file__)"]
    used = subprocess.run(which, capture_output=True, text=True, check=True).stdout
    assert used.startswith(str(bare))
    server = start_server([*python, "-m", "bentoml", "serve", str(copied)], workers=1)
    server.wait_until_ready()
    image = encode((250, 10, 10))
    answer = httpx.post(f"{server.url}/classify", content=image, timeout=20).json()
    assert (answer["model"], answer["predictions"][0]["label"]) == ("tiny", "reddish")
    # Of the two profiles that travelled with the bundle, that of this machine.
    words = "tiny runs as tuned for this machine: onnx-fp32 in onnxruntime, 1 process, 1 thread, batch 2"
    assert server.log.count(words) == 1


def test_the_runtime_of_a_profile_is_required(bento: Bento) -> None:
    assert bento.profiles == (
        "onnx-fp32 in onnxruntime, 1 process, 1 thread, batch 2",
        "onnx-fp32 in openvino, 1 process, 1 thread, batch 2",
    )
    wanted = (bento.folder / "env" / "python" / "requirements.txt").read_text()
    # Whatever the machine: the flavour itself has it on some of them only.
    [wherever] = [line for line in wanted.splitlines() if line.startswith("openvino==")]
    assert ";" not in wherever
    assert any(line.startswith("openvino") and ";" in line for line in requirements("cpu"))


def test_the_bill_of_materials_is_valid_and_has_everything(bento: Bento) -> None:
    text = (bento.folder / "sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"purl"', '"curl"')) is not None
    components = {(one["name"], one["version"]): one for one in json.loads(text)["components"]}
    assert {(pin.name, pin.version) for pin in read_lock("cpu")} <= set(components)
    inside = Bundle.open(bento.folder / "src" / "tiny.bundle")
    [file] = components["tiny", inside.version]["components"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": inside.variant().sha256}]


def test_the_image_has_the_wheel_before_it_is_installed(bento: Bento) -> None:
    lines = (bento.folder / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (copied,) = [number for number, line in enumerate(lines) if "./src/wheels ./src/wheels" in line]
    (installed,) = [number for number, line in enumerate(lines) if "pip install -r" in line]
    assert copied < installed
    assert "./wheels/pinnace-" in (bento.folder / "env" / "python" / "requirements.txt").read_text()


def test_several_bundles_in_one(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = build_bundle(tmp_path / "other.bundle", name="TINY")
    made = tmp_path / "both.bento"
    assert run(["package", str(other), str(bundle), "-o", str(made)]) == 0
    told = load_settings(made / "src" / "pinnace.toml")
    assert [Bundle.open(folder).name for folder in told.bundle] == ["TINY", "tiny"]
    assert all(folder.parent == made / "src" for folder in told.bundle)
    assert run(["package", str(bundle), str(bundle), "-o", str(tmp_path / "x.bento")]) == 2
    assert "two bundles have the same name: tiny" in capsys.readouterr().err


def test_what_a_flavour_needs() -> None:
    cpu, cuda = "\n".join(requirements("cpu")), "\n".join(requirements("cuda"))
    assert "onnxruntime>=" in cpu
    assert "onnxruntime-gpu>=" in cuda
    assert "onnxruntime>=" not in cuda
    for needed in (cpu, cuda):
        assert "bentoml>=" in needed
        assert "extra" not in needed
        assert "torch" not in needed


def test_the_wheel_holds_the_four_rooms_and_is_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    wheel, again = write_wheel(tmp_path), write_wheel(tmp_path / "again")
    assert wheel.read_bytes() == again.read_bytes()
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        files = (path for path in (REPOSITORY / room).rglob("*") if path.is_file())
        inside = {f"pinnace/{path.relative_to(REPOSITORY).as_posix()}" for path in files}
        there = {name for name in names if name.startswith(f"pinnace/{room}/")}
        assert there == {name for name in inside if "__pycache__" not in name and "/js/" not in name}


def test_what_cannot_be_packaged_is_said(two_variants: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="torchscript-fp32 needs more than ONNX Runtime"):
        build_bento(two_variants, folder=tmp_path / "x.bento", variants=("torchscript-fp32",))
    with pytest.raises(UsageError, match="has no variant onnx-int9"):
        build_bento(two_variants, folder=tmp_path / "x.bento", variants=("onnx-int9",))
    assert not (tmp_path / "x.bento").exists()


def test_a_changed_file_is_not_packaged(two_variants: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(two_variants.folder, tmp_path / "changed.bundle")
    (folder / "labels.txt").write_text("other\n")
    with pytest.raises(CheckFailed, match="has changed since it was exported"):
        build_bento(Bundle.open(folder), folder=tmp_path / "x.bento")
    assert [path.name for path in tmp_path.iterdir()] == ["changed.bundle"]


def test_what_stands_in_the_way_is_left_alone(
    two_variants: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    assert run(["package", str(two_variants.folder), "-o", str(tmp_path / "mine")]) == 2
    assert "so it was not replaced" in capsys.readouterr().err
    assert (tmp_path / "mine" / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "safe"), [("resnet50", "resnet50"), ("My Net/2", "my_net_2"), ("---", "model"), ("é", "model")]
)
def test_the_name_is_one_that_bentoml_takes(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_bentoml_build_in_a_checkout_needs_nothing_else(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *ROOMS, "*.toml", "setup.py", "README.md", "LICENSE", "bentofile.yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    checkout = tmp_path / "checkout"
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, checkout / name, follow_symlinks=False)
    env = clean_environment(tmp_path / "bentoml")
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build"],
        cwd=checkout,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (bento,) = [path.parent for path in (tmp_path / "bentoml").glob("bentos/*/*/bento.yaml")]
    wanted = (bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    names = {re.split("[>=;]", line)[0] for line in wanted}
    assert names == {".", *(re.split("[>=;]", line)[0] for line in requirements("cpu"))} - {
        "cryptography"
    }  # for those who sign
    with zipfile.ZipFile(write_wheel(tmp_path)) as wheel:
        needed = {name.removeprefix("pinnace/") for name in wheel.namelist() if name.startswith("pinnace/")}
    needed = {name for name in needed if not name.endswith(".so")}
    assert {
        name for name in needed | {"pyproject.toml", "setup.py"} if not (bento / "src" / name).exists()
    } == set()
    lines = (bento / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (installed,) = [number for number, line in enumerate(lines) if "pip install -r" in line]
    copied = "\n".join(lines[:installed])
    assert all(f"./src/{name} ./src/{name}" in copied for name in ("pyproject.toml", *ROOMS))
