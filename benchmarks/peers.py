"""Other ways to serve the same model, each in a virtual environment of its own; see `serving.py`."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

APPS = Path(__file__).parent / "peer_apps"
ONNX = ("onnxruntime", "pillow", "numpy")


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Attributes:
        packages: what its environment gets; those that are installed here too are of the same version.
        command: what starts it, after the environment's Python, with {port} and {cpus} to fill in.
        borrows: it sees the packages of this environment behind its own: torch is large.
    """

    packages: tuple[str, ...]
    command: str
    borrows: bool = False

    def environment(self, folder: Path) -> Path:
        """The Python of its environment below `folder`, made and filled where it is not there yet."""
        python = folder / "bin" / "python"
        done = folder / ".installed"
        wanted = "\n".join(map(_like_here, self.packages))
        if not done.is_file() or done.read_text() != wanted:
            print(f"installing {folder.name} ...", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted.split("\n")], check=True)
            done.write_text(wanted)
        if self.borrows:
            (own,) = folder.glob("lib/python*/site-packages")
            # In this file, so that the other's .pth files (an editable install) are followed as well.
            lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
            (own / "zz_borrowed.pth").write_text("".join(lines))
        return python

    def start(self, folder: Path, bundle: Path, port: int, cpus: int) -> subprocess.Popen[bytes]:
        """Start it; it answers `POST /classify` with a form whose field is `image`."""
        command = self.command.format(port=port, cpus=cpus).split()
        variables = {**os.environ, "BUNDLE": str(bundle.resolve()), "CPUS": str(cpus)}
        variables.pop("PYTHONPYCACHEPREFIX", None)  # pip has compiled its modules, beside them
        return subprocess.Popen(
            [self.environment(folder), *command],
            cwd=APPS,
            env={**variables, "BENTOML_DO_NOT_TRACK": "True", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


_UVICORN = "-m uvicorn --host 127.0.0.1 --port {port} --log-level warning "

PEERS = {
    "fastapi-torch": Peer(
        ("fastapi", "uvicorn[standard]", "python-multipart"), _UVICORN + "fastapi_torch:app", borrows=True
    ),
    "fastapi-onnx": Peer(
        ("fastapi", "uvicorn[standard]", "python-multipart", *ONNX),
        _UVICORN + "--workers {cpus} fastapi_onnx:app",
    ),
    "litserve-onnx": Peer(("litserve", "python-multipart", *ONNX), "litserve_onnx.py {port} {cpus}"),
    "bentoml-api": Peer(
        ("bentoml", *ONNX), "-m bentoml serve bentoml_api:Classify --host 127.0.0.1 --port {port}"
    ),
}


def _like_here(package: str) -> str:
    """The package, in the version that is installed here where it is one that is measured."""
    return f"{package}=={version(package)}" if package in (*ONNX, "bentoml") else package
