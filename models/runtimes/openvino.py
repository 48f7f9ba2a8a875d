"""OpenVINO on the CPU, in the precision of the file."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeAlias

from pinnace.models.bundle.signature import BATCH, Signature
from pinnace.models.cpus import has_avx512, saturates
from pinnace.models.errors import BundleError, error_lines
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions

# A request runs one call at a time, and is handed from call to call; the one that was used last is warm.
Requests: TypeAlias = "queue.LifoQueue[Any]"


def import_openvino() -> ModuleType:
    """Import openvino without its telemetry.

    `import openvino` imports its converter, which sends an event to a statistics server and writes an
    identifier into the home directory. Without the package `openvino_telemetry` it falls back to a stub of
    its own, so that package is made to look absent from this process.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module


class OpenVino(Runtime):
    """Runs `.onnx` files: fp32 as fp32, and int8 as int8 where the CPU has VNNI, and in float elsewhere."""

    name = "openvino"
    formats = ("onnx",)
    module = "openvino"
    install_line = "pip install 'pinnace[openvino]'"
    rank = 20
    devices = ("cpu",)
    precision: ClassVar[str] = "f32"

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        super().__init__(path, signature, options)
        openvino = import_openvino()
        self._core = openvino.Core()
        self._tensor = openvino.Tensor
        self._options = options
        self._lock = threading.Lock()
        with self._loading():
            self._model = self._core.read_model(str(path))
        # Where every shape is known, a call is faster by a twentieth, in bf16 by a tenth.
        self._shapes: dict[str, tuple[int, ...]] | None = None
        if all(isinstance(dim, int) or dim == BATCH for spec in signature.inputs for dim in spec.shape):
            self._shapes = {spec.name: spec.with_batch(options.batch) for spec in signature.inputs}
        self._of_other_shapes: Requests | None = None
        self._requests = self._compiled(self._shapes)

    def _compiled(self, shapes: dict[str, tuple[int, ...]] | None) -> Requests:
        """Requests for inputs of these shapes; for any, where there are none."""
        requests: Requests = queue.LifoQueue()
        with self._loading():
            model = self._model.clone()
            if shapes is not None:
                model.reshape({name: list(shape) for name, shape in shapes.items()})
            for calls in self._streams():
                compiled = self._core.compile_model(model, "CPU", self._compile_settings(calls))
                for _ in range(calls):
                    requests.put(compiled.create_infer_request())
        self.provider = "CPU " + str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        return requests

    def _streams(self) -> list[int]:
        """The streams of each compiled model; the last one's are taken first.

        Several streams take turns even where calls come one by one, and find their memory cold: so a call
        that is alone has a stream to itself.
        """
        return [calls for calls in (self._options.concurrency - 1, 1) if calls]

    def _compile_settings(self, calls: int) -> dict[str, Any]:
        """How so many calls at once are to run; docs/runtime-settings.md has what each setting brings."""
        return {
            # One stream is one call; the threads of all streams are given together.
            "NUM_STREAMS": calls,
            "INFERENCE_NUM_THREADS": self._options.threads * calls,
            "INFERENCE_PRECISION_HINT": self.precision,
            # Every process would pin its threads to the same first CPUs: 2 processes on 2 CPUs took 1.9 times
            # as long.
            "ENABLE_CPU_PINNING": False,
            # Where 8-bit products saturate, the answers to int8 files are wrong: they are then run in float.
            "LP_TRANSFORMS_MODE": not saturates(),
        }

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        """Every failure of the C++ side arrives as a RuntimeError of many lines."""
        try:
            yield
        except Exception as error:
            raise BundleError(f"OpenVINO cannot load {self.path}: {error_lines(error)[-1]}") from error

    @classmethod
    def faster_than(cls) -> tuple[str, ...]:
        """ONNX Runtime, where there is AVX-512; on AVX2 it is OpenVINO that takes a tenth longer."""
        return ("onnxruntime",) if has_avx512() else ()

    @classmethod
    def version(cls) -> str:
        """The version of the openvino package."""
        return version("openvino")

    @classmethod
    def snippet(cls, file: Path) -> str:
        """A compiled model, with the settings that this CPU is given."""
        return f"""\
import openvino

settings = {{"INFERENCE_PRECISION_HINT": {cls.precision!r}, "LP_TRANSFORMS_MODE": {not saturates()}}}
compiled = openvino.Core().compile_model(str(DATA / {file.name!r}), "CPU", settings)


def run(feeds):
    answers = compiled(feeds)
    return [answers[name] for name in outputs]
"""

    def _run(self, feeds: Feeds) -> Outputs:
        requests = self._for(feeds)
        request = requests.get()
        try:
            for name, array in feeds.items():
                # It lends its memory to what may write as well, though it does not.
                array = array if array.flags.writeable else array.copy()
                request.set_tensor(name, self._tensor(array, shared_memory=True))
            request.infer(share_outputs=True)
            return {name: request.get_tensor(name).data.copy() for name in self.signature.output_names}
        finally:
            requests.put(request)

    def _for(self, feeds: Feeds) -> Requests:
        shapes = self._shapes
        if shapes is None or all(feeds[name].shape == shape for name, shape in shapes.items()):
            return self._requests
        with self._lock:
            if self._of_other_shapes is None:
                self._of_other_shapes = self._compiled(None)
            return self._of_other_shapes

    def close(self) -> None:
        """Drop the requests, and with them the compiled models."""
        self._requests = queue.LifoQueue()
        self._of_other_shapes = None
        self._model = None


RUNTIME = OpenVino
