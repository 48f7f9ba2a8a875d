"""A new source, runtime, format, target or route is one file: those of CONTRIBUTING.md, put into a copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from support.ports import free_port
from support.server import Server, clean_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WINGS = ("models", "export", "latency", "serving", "clients", "cli")
# A file's name at the end of a paragraph, and its text in the block that follows.
EXAMPLE = re.compile(r"`([\w/]+\.(?:py|toml))`:\n\n```(?:python|toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PHOTOGRAPH = ROOT / "models" / "photographs" / "cat.jpg"


class Copy(NamedTuple):
    """A copy of Pinnace, and the Python that imports it."""

    python: Path
    folder: Path

    def run(self, *arguments: object, status: int = 0) -> str:
        """Standard output of `pinnace` with these arguments."""
        done = subprocess.run(
            [str(self.python), "-m", "pinnace.cli.main", *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Pinnace with five new files, in an environment that has all packages of this one."""
    folder = tmp_path_factory.mktemp("copy")
    venv.create(folder / "venv", symlinks=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "packages.pth").write_text("\n".join(packages) + "\n")
    for wing in WINGS:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / wing, site / "pinnace" / wing, ignore=ignored)
    shutil.copytree(ROOT / "docs", folder / "docs")
    examples = dict(EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert len(examples) == 5
    for name, text in examples.items():
        assert not (site / "pinnace" / name).exists()
        (site / "pinnace" / name).write_text(text)
    made = Copy(folder / "venv" / "bin" / "python", folder)
    where = subprocess.run(
        [made.python, "-I", "-c", "import pinnace.models; print(pinnace.models.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    return made


@pytest.fixture(scope="module")
def bundle(copy: Copy) -> dict[str, object]:
    """What `pinnace export --json` says of a bundle in which all four took part."""
    arguments = ("noise:7", "--target", "abacus", "-o", "noise.bundle", "--json")
    made: dict[str, object] = json.loads(copy.run("export", *arguments))
    return made


def test_it_is_exported_and_proved(copy: Copy, bundle: dict[str, object]) -> None:
    (variant,) = bundle["variants"]
    assert (variant["name"], variant["file"]) == ("npz-fp32", "npz-fp32.npz")
    assert variant["parity"]["runtime"] == "numpy"
    assert variant["parity"]["top1_agreement"] == 1.0
    assert variant["proof"]["images"] > 0
    assert (bundle["source"], bundle["batch"], bundle["runtimes"]) == ("noise:7", [1, 4], ["numpy"])
    assert set(bundle["tools"]) == {"numpy", "pinnace", "python"}


def test_it_is_verified(copy: Copy, bundle: dict[str, object]) -> None:
    (row,) = json.loads(copy.run("verify", "noise.bundle", "--json"))["variants"]
    assert (row["name"], row["runtime"], row["passed"]) == ("npz-fp32", "numpy", True)


def test_it_classifies_and_is_timed(copy: Copy, bundle: dict[str, object]) -> None:
    (answer,) = json.loads(copy.run("classify", PHOTOGRAPH, "--bundle", "noise.bundle", "--json"))
    assert (answer["variant"], answer["runtime"], len(answer["predictions"])) == ("npz-fp32", "numpy", 5)
    report = json.loads(copy.run("bench", "noise.bundle", "--duration", "0.2", "--rounds", "2", "--json"))
    assert {(row["variant"], row["runtime"]) for row in report["results"]} == {("npz-fp32", "numpy")}


def test_help_lists_the_source_and_the_format(copy: Copy) -> None:
    shown = " ".join(copy.run("export", "--help").split())
    assert re.search(r"SOURCE .*noise:SEED.*\[required\]", shown)
    assert re.search(r"--format NAME Only executorch, litert, ncnn, npz, onnx, pt2, torchscript\.", shown)


def test_doctor_lists_the_runtime(copy: Copy) -> None:
    findings = {finding["name"]: finding for finding in json.loads(copy.run("doctor", "--json"))}
    assert findings["runtime numpy"]["problem"] is None
    assert findings["runtime numpy"]["version"]


def test_targets_lists_the_target(copy: Copy) -> None:
    listed = {target["name"]: target for target in json.loads(copy.run("targets", "--json"))}
    assert listed["abacus"]["description"] == "Anything that counts"
    assert listed["abacus"]["variants"] == ["npz-fp32"]
    assert "abacus" in copy.run("targets")


def test_models_names_the_form_of_the_source(copy: Copy) -> None:
    assert "noise:SEED" in copy.run("models")


def test_an_error_lists_all_of_them(copy: Copy) -> None:
    assert "noise:SEED" in copy.run("export", "nothing:at-all", "-o", "x.bundle", status=2)
    assert "npz, onnx" in copy.run("export", "noise:7", "--format", "tflite", "-o", "x.bundle", status=2)
    assert "abacus, " in copy.run("export", "noise:7", "--target", "moon", "-o", "x.bundle", status=2)
    words = ("verify", "noise.bundle", "--runtime", "openvino")
    assert "openvino" in copy.run(*words, status=2)


def test_the_documents_are_written_with_them(copy: Copy) -> None:
    for script in sorted((copy.folder / "docs").glob("make_*.py")):
        if script.stem.endswith("_picture"):
            continue
        subprocess.run([copy.python, script], cwd=copy.folder, check=True, timeout=120)
    page = (copy.folder / "docs" / "commands.md").read_text(encoding="utf-8")
    assert "noise:SEED" in page
    assert "npz" in page


def test_a_failure_is_shown_without_pinnace(copy: Copy) -> None:
    """The target demands more than floats can hold, so that the comparison fails."""
    text = (copy.python.parents[1]).rglob("abacus.toml")
    strict = next(text).read_text().replace("max_rel = 1e-3", "max_rel = 1e-12")
    (copy.folder / "strict.toml").write_text(strict)
    copy.run("export", "noise:7", "--target", "strict.toml", "-o", "strict.bundle", status=1)
    script = copy.folder / "strict.bundle.reproduce.py"
    assert "import pinnace" not in script.read_text()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert "of the range" in done.stdout, done.stderr
    copy.run("export", "onnx:7", "--target", "abacus", "-o", "x.bundle", status=2)
    copy.run("export", "torchvision:squeezenet1_1@none", "--target", "abacus", "-o", "deep.bundle", status=1)
    script = copy.folder / "deep.bundle.reproduce.py"
    assert 'numpy.savez("npz-fp32.npz"' in script.read_text()


@pytest.fixture(scope="module")
def served(
    copy: Copy, bundle: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a server of that bundle, which wants a key, and counts and logs every request."""
    home = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [str(copy.python), "-m", "pinnace.cli.main", "serve", "noise.bundle", "--port", str(port)]
    env = clean_environment(home / "bentoml") | {"PINNACE_API_KEY": "key", "PINNACE_ACCESS_LOG": "true"}
    server = Server.start([*command, "--workers", "1"], port, home / "log", env=env, cwd=copy.folder)
    try:
        server.wait_until_ready(90)
        with httpx.Client(base_url=server.url, headers={"X-API-Key": "key"}, timeout=20) as client:
            yield client
    finally:
        server.stop()
    assert '"route": "/labels"' in server.log


def test_the_route_answers_and_is_listed_counted_and_logged(served: httpx.Client) -> None:
    assert served.get("/labels", headers={"X-API-Key": "another"}).status_code == 401
    (model,) = served.get("/models").json()["models"]
    assert served.get("/labels").json() == {"labels": model["labels"]}
    assert served.get("/").json()["routes"]["GET /labels"] == "class names"
    document = served.get("/docs.json").json()
    assert document["paths"]["/labels"]["get"]["summary"] == "Class names"
    assert document["components"]["schemas"]["Labels"]["required"] == ["labels"]
    counted = [line for line in served.get("/metrics").text.splitlines() if 'endpoint="/labels"' in line]
    assert any('http_response_code="200"' in line for line in counted)
