"""ExecuTorch on the CPU: `.pte` files, lowered to XNNPACK. Its Python package needs torch."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, error_lines
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.one_by_one import Arrays, OneByOne


class ExecuTorch(OneByOne):
    """Runs `.pte` files, one image after the other."""

    name = "executorch"
    formats = ("executorch",)
    module = "executorch"
    extra = "executorch"
    rank = 74
    devices = ("cpu",)
    provider = "CPU XNNPACK"

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        super().__init__(path, signature, options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its interface is experimental
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
        try:
            # The threads are those of the process.
            portable_lib._unsafe_reset_threadpool(options.threads)
            self._program: Any = Runtime.get().load_program(path)
            self._method: Any = self._program.load_method("forward")
        except RuntimeError as error:
            raise BundleError(f"ExecuTorch cannot load {path}: {error_lines(error)[0]}") from error

    @classmethod
    def version(cls) -> str:
        """The version of executorch."""
        return version("executorch")

    @classmethod
    def snippet(cls, file: Path) -> str:
        """A program's method."""
        return f"""\
import numpy as np
import torch
from executorch.runtime import Runtime

program = Runtime.get().load_program(DATA / {file.name!r})
forward = program.load_method("forward")


def run(feeds):
    found = []
    for images in zip(*feeds.values()):
        answers = forward.execute([torch.from_numpy(np.array(image[None])) for image in images])
        found.append([answer.numpy().copy() for answer in answers])
    return [np.concatenate(rows) for rows in zip(*found)]
"""

    def _one(self, inputs: Arrays) -> Arrays:
        import torch

        answers = self._method.execute([torch.from_numpy(array.copy()) for array in inputs])
        # Copied: the memory is the method's, which the next call writes again.
        return [np.array(answer.numpy()) for answer in answers]

    def close(self) -> None:
        """Drop the method and its program."""
        self._method = self._program = None


RUNTIME = ExecuTorch
