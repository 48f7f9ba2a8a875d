"""The source's network as torch itself makes it static: compiled when called, exported, compiled ahead."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.latency.subjects.eager import EAGER, EagerTorch
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed, MissingDependency, error_lines
from pinnace.models.runtimes.base import RuntimeOptions


class CompiledTorch(EagerTorch):
    """`torch.compile`: a graph that is compiled by the first call, here before anything is timed.

    Attributes:
        variant: what its rows are called.
        compiles: whether a C++ compiler is needed.
    """

    name = "torch"
    variant = "torch.compile"
    compiles = True

    def __init__(self, bundle: Bundle, options: RuntimeOptions) -> None:
        """Load the network, make it static for `options.batch` images, and call it once.

        Raises:
            MissingDependency: there is no C++ compiler.
            CheckFailed: torch cannot make it static.
            PinnaceError: as `EagerTorch`.
        """
        compiler = os.environ.get("CXX", "g++")
        if self.compiles and shutil.which(compiler) is None:
            raise MissingDependency(
                f"{self.variant} needs a C++ compiler, and there is no {compiler}", hint="apt-get install g++"
            )
        self._batch = options.batch
        super().__init__(bundle, options)
        shapes = {spec.name: (spec.with_batch(self._batch), spec.dtype) for spec in self.signature.inputs}
        try:
            self._run({name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()})
        except Exception as error:
            raise self._problem(error) from error

    def _load(self) -> Any:
        import torch

        module = super()._load()
        shapes = [(spec.with_batch(self._batch), spec.dtype) for spec in self.signature.inputs]
        example = tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in shapes)
        try:
            with torch.no_grad():
                return self._made(module, example)
        except Exception as error:
            raise self._problem(error) from error

    def _made(self, module: Any, example: tuple[Any, ...]) -> Any:
        import torch

        return torch.compile(module)

    def _problem(self, error: Exception) -> CheckFailed:
        return CheckFailed(f"{self.variant} fails with this network: {error_lines(error)[0]}")


class ExportedTorch(CompiledTorch):
    """`torch.export`: the whole graph, run operation by operation."""

    variant = "torch.export"
    compiles = False

    def _made(self, module: Any, example: tuple[Any, ...]) -> Any:
        import torch

        return torch.export.export(module, example).module()


class AheadTorch(CompiledTorch):
    """AOTInductor: the graph of `torch.export`, compiled ahead for this CPU."""

    variant = "AOTInductor"

    def _made(self, module: Any, example: tuple[Any, ...]) -> Any:
        import torch
        from torch._inductor import aoti_compile_and_package, aoti_load_package

        with tempfile.TemporaryDirectory(prefix="pinnace-bench-") as folder:
            path = str(Path(folder, "model.pt2"))
            aoti_compile_and_package(torch.export.export(module, example), package_path=path)
            return aoti_load_package(path)


# By the name that a pair has for its runtime.
FROM_SOURCE: dict[str, type[EagerTorch]] = {
    EagerTorch.name: EagerTorch,
    **{each.variant: each for each in (CompiledTorch, ExportedTorch, AheadTorch)},
}


def row_variant(runtime: str | None) -> str:
    """What a row of the source's network is called as a variant."""
    kind = FROM_SOURCE[runtime or EagerTorch.name]
    return kind.variant if issubclass(kind, CompiledTorch) else EAGER
