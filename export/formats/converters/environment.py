"""Runs a converter's script with the Python that has the converter's packages."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pinnace.export.formats.base import Graph, Written
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.errors import CheckFailed, MissingDependency, UsageError, error_lines

LEAVE_OUT = "leave it out with --format onnx"


@dataclass(frozen=True)
class Converter:
    """A script of this folder and where it runs.

    Attributes:
        module: the package that must be importable there, as Python names it.
        script: its file in this folder.
        variable: the environment variable that names another Python that has the package.
        hint: how to get it.
    """

    module: str
    script: str
    variable: str
    hint: str

    def python(self) -> str:
        """The Python that has the package: the one that `variable` names, or this one.

        Raises:
            MissingDependency: neither has it.
            UsageError: the variable names no program.
        """
        if named := os.environ.get(self.variable):
            if not os.access(named, os.X_OK) or Path(named).is_dir():
                raise UsageError(
                    f"{self.variable} names no Python", expected="the path of an interpreter", got=named
                )
            return named
        if importlib.util.find_spec(self.module) is None:
            raise MissingDependency(
                f"the package {self.module} is not installed, and {self.variable} names no Python with it",
                hint=self.hint,
            )
        return sys.executable

    def convert(self, graph: Graph, path: Path) -> Written:
        """Write the network, for one sample, as a program of torch.export, and have the script convert it.

        Returns:
            The versions of what took part there.

        Raises:
            CheckFailed: the network takes no samples of one size, or cannot be exported or converted.
            MissingDependency: as `python`.
            UsageError: as `python`.
        """
        python = self.python()
        for spec in graph.signature.inputs:
            _check(spec, path.suffix)
        with tempfile.TemporaryDirectory(prefix="pinnace-convert-") as name:
            folder = Path(name)
            _export(graph, folder / "program.pt2")
            graph.tell(f"{self.module} converts it")
            script = Path(__file__).parent / self.script
            names = [list(graph.signature.input_names), list(graph.signature.output_names)]
            (folder / "names.json").write_text(json.dumps(names))
            command = [python, "-I", str(script), str(folder), graph.precision, f"converted{path.suffix}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            result, converted = folder / "result.json", folder / f"converted{path.suffix}"
            said = json.loads(result.read_text()) if result.is_file() else {}
            if done.returncode or "versions" not in said or not converted.is_file():
                lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                reason = said.get("error") or lines[-1].strip()
                raise CheckFailed(f"{self.module} cannot convert the network: {reason}", hint=LEAVE_OUT)
            path.write_bytes(converted.read_bytes())
        return Written(tools=said["versions"])


def _check(spec: TensorSpec, suffix: str) -> None:
    sizes = [1 if dim == BATCH else dim for dim in spec.shape]
    if spec.shape[:1] != (BATCH,) or any(isinstance(size, str) for size in sizes):
        raise CheckFailed(
            f"{suffix} files take samples one by one and of one size", got=str(spec), hint=LEAVE_OUT
        )


def _export(graph: Graph, path: Path) -> None:
    import torch

    try:
        with torch.no_grad():
            program = torch.export.export(graph.module, tuple(tensor[:1] for tensor in graph.example))
            torch.export.save(program, path)
    except Exception as error:  # torch.export raises classes of its own, dozens of them
        raise CheckFailed(
            f"torch.export cannot export the network: {error_lines(error)[0]}", hint=LEAVE_OUT
        ) from error
