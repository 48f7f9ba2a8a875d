"""`.pt2` files on the CPU: a program of torch.export, or one that AOTInductor compiled."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, error_lines
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions
from pinnace.models.runtimes.torchscript import CALL_MODEL

# Where AOTInductor puts its libraries inside the archive.
_COMPILED = "/aotinductor/"


class Pt2Runtime(Runtime):
    """Runs what `torch.export.save` and `aoti_compile_and_package` write."""

    name = "pt2"
    formats = ("pt2",)
    module = "torch"
    extra = "export"
    rank = 60
    devices = ("cpu",)

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        import torch

        super().__init__(path, signature, options)
        torch.set_num_threads(options.threads)
        try:
            compiled = _is_compiled(path)
            if compiled:
                from torch._inductor import aoti_load_package

                self._module: Any = aoti_load_package(str(path))
            else:
                self._module = torch.export.load(path).module()
        except Exception as error:  # the loaders raise whatever the archive makes them stumble over
            raise BundleError(f"torch cannot load {path}: {error_lines(error)[0]}") from error
        self.provider = "AOTInductor" if compiled else "CPU"

    @classmethod
    def version(cls) -> str:
        """The version of torch."""
        return version("torch")

    @classmethod
    def snippet(cls, file: Path) -> str:
        """A program, or what was compiled of it."""
        path = f"DATA / {file.name!r}"
        loaded = f"torch.export.load({path}).module()"
        if _is_compiled(file):
            loaded = f"torch._inductor.aoti_load_package(str({path}))"
        return f"import torch\n\nmodel = {loaded}\n{CALL_MODEL}"

    def _run(self, feeds: Feeds) -> Outputs:
        import torch

        torch.set_num_threads(self.threads)
        with torch.no_grad():
            results = self._module(
                *(torch.from_numpy(feeds[name].copy()) for name in self.signature.input_names)
            )
        results = (results,) if isinstance(results, torch.Tensor) else tuple(results)
        # Copied: a result may be an input, a constant of the program, or a view of another result.
        return {
            name: np.array(result.detach().numpy())
            for name, result in zip(self.signature.output_names, results, strict=True)
        }

    def close(self) -> None:
        """Drop the program."""
        self._module = None


def _is_compiled(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(_COMPILED in name for name in archive.namelist())


RUNTIME = Pt2Runtime
