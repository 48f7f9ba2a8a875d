"""ncnn on the CPU: small, without torch, and at home on Arm boards and phones."""

from __future__ import annotations

import struct
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.models.bundle.manifest import weights_file
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions

# How the first weights begin where they are stored in float32: ncnn's modelbin.cpp.
_FLOAT32 = 0

# The first line of every graph.
_MAGIC = "7767517"

# What ncnn does in half precision where it may. Weights in float32 ask for an answer in float32.
_LESS_EXACT = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_packed",
    "use_bf16_storage",
)


class Ncnn(Runtime):
    """Runs `.param` files with their weights beside them, one image after the other."""

    name = "ncnn"
    formats = ("ncnn",)
    module = "ncnn"
    extra = "ncnn"
    rank = 70
    devices = ("cpu",)
    provider = "CPU"

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        import ncnn

        super().__init__(path, signature, options)
        weights = path.with_name(weights_file(path.name))
        if (fault := _fault(path, signature)) is not None:
            raise BundleError(f"ncnn cannot load {path}: {fault}")
        self._mat = ncnn.Mat
        self._net: Any = ncnn.Net()
        self._net.opt.num_threads = options.threads
        self._net.opt.use_vulkan_compute = False
        if _is_float32(weights):
            for name in _LESS_EXACT:
                if hasattr(self._net.opt, name):
                    setattr(self._net.opt, name, False)
        if self._net.load_param(str(path)):
            raise BundleError(f"ncnn cannot load {path}: it has layers that this ncnn does not know")
        if self._net.load_model(str(weights)):
            raise BundleError(f"ncnn cannot load {path}: its weights are missing or cut short")

    @classmethod
    def version(cls) -> str:
        """The version of ncnn."""
        return version("ncnn")

    @classmethod
    def snippet(cls, file: Path) -> str:
        """A net of ncnn."""
        return f"""\
import ncnn
import numpy as np

net = ncnn.Net()
net.load_param(str(DATA / {file.name!r}))
net.load_model(str(DATA / {weights_file(file.name)!r}))


def run(feeds):
    found = []
    for images in zip(*feeds.values()):
        call = net.create_extractor()
        for index, image in enumerate(images):
            call.input(f"in{{index}}", ncnn.Mat(np.ascontiguousarray(image)).clone())
        found.append([np.array(call.extract(f"out{{index}}")[1]) for index in range(len(outputs))])
    return [np.stack(rows) for rows in zip(*found)]
"""

    def _run(self, feeds: Feeds) -> Outputs:
        count = len(next(iter(feeds.values())))
        answers = [self._one(feeds, index) for index in range(count)]
        return {
            spec.name: np.stack([answer[place] for answer in answers]).reshape(count, *_sizes(spec.shape))
            for place, spec in enumerate(self.signature.outputs)
        }

    def _one(self, feeds: Feeds, index: int) -> list[np.ndarray[Any, Any]]:
        call = self._net.create_extractor()
        for place, name in enumerate(self.signature.input_names):
            # Cloned: ncnn wants each channel to begin at a multiple of 16 bytes.
            call.input(f"in{place}", self._mat(feeds[name][index]).clone())
        found = []
        for place, name in enumerate(self.signature.output_names):
            status, answer = call.extract(f"out{place}")
            if status:
                raise BundleError(f"ncnn cannot compute {name} of {self.path}")
            found.append(np.array(answer))
        return found

    def close(self) -> None:
        """Free the net."""
        self._net.clear()


def _fault(path: Path, signature: Signature) -> str | None:
    """What is wrong with a graph; ncnn looks at none of it, and crashes."""
    try:
        first, counts, *layers = path.read_text(encoding="utf-8").splitlines()
        count = int(counts.split()[0])
    except (OSError, ValueError, IndexError) as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    if first.strip() != _MAGIC or count != len(layers):
        return "it is not a whole graph of ncnn's"
    names = {word for layer in layers for word in layer.split()}
    wanted = [f"in{place}" for place in range(len(signature.inputs))]
    wanted += [f"out{place}" for place in range(len(signature.outputs))]
    missing = [name for name in wanted if name not in names]
    return f"it has no {missing[0]}" if missing else None


def _sizes(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    """The shape of one sample, of which ncnn leaves out what is 1."""
    return tuple(-1 if isinstance(dim, str) else dim for dim in shape[1:])


def _is_float32(weights: Path) -> bool:
    try:
        with weights.open("rb") as file:
            (first,) = struct.unpack("<I", file.read(4))
    except (OSError, struct.error):
        return False  # ncnn says that it cannot load them
    return bool(first == _FLOAT32)


RUNTIME = Ncnn
