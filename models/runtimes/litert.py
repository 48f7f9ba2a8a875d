"""LiteRT (formerly TensorFlow Lite) on the CPU: `.tflite` files, without torch, for phones and Arm boards."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, error_lines
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.one_by_one import Arrays, OneByOne


class LiteRt(OneByOne):
    """Runs `.tflite` files with the kernels of XNNPACK, one image after the other."""

    name = "litert"
    formats = ("litert",)
    module = "ai_edge_litert"
    extra = "litert"
    rank = 72
    devices = ("cpu",)
    provider = "CPU XNNPACK"

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        from ai_edge_litert.interpreter import Interpreter

        super().__init__(path, signature, options)
        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=options.threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise BundleError(f"LiteRT cannot load {path}: {error_lines(error)[0]}") from error
        self._inputs = [each["index"] for each in self._interpreter.get_input_details()]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]
        for what, have, want in (
            ("inputs", self._inputs, signature.inputs),
            ("outputs", self._outputs, signature.outputs),
        ):
            if len(have) != len(want):
                raise BundleError(f"LiteRT cannot load {path}: it has {len(have)} {what} and not {len(want)}")

    @classmethod
    def version(cls) -> str:
        """The version of ai-edge-litert."""
        return version("ai-edge-litert")

    @classmethod
    def snippet(cls, file: Path) -> str:
        """An interpreter."""
        return f"""\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(str(DATA / {file.name!r}))
interpreter.allocate_tensors()


def run(feeds):
    found = []
    for images in zip(*feeds.values()):
        for detail, image in zip(interpreter.get_input_details(), images):
            interpreter.set_tensor(detail["index"], image[None])
        interpreter.invoke()
        found.append([interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()])
    return [np.concatenate(rows) for rows in zip(*found)]
"""

    def _one(self, inputs: Arrays) -> Arrays:
        for index, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def close(self) -> None:
        """Drop the interpreter."""
        self._interpreter = None


RUNTIME = LiteRt
