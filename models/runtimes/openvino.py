"""OpenVINO on the CPU, in the precision of the file."""

from __future__ import annotations

import queue
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pinnace.models.cpus import saturates
from pinnace.models.errors import BundleError
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions
from pinnace.models.signature import Signature


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
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
            # Every process would pin its threads to the same first CPUs.
            "ENABLE_CPU_PINNING": False,
            # Where 8-bit products saturate, the answers to int8 files are wrong: they are then run in float.
            "LP_TRANSFORMS_MODE": not saturates(),
        }

        def compiled(calls: int) -> Any:
            # One stream is one call; the threads of all streams are given together.
            streams = {"NUM_STREAMS": calls, "INFERENCE_NUM_THREADS": options.threads * calls}
            return core.compile_model(model, "CPU", settings | streams)

        try:
            model = core.read_model(str(path))
            alone = compiled(1)
            requests = [alone.create_infer_request()]
            if options.concurrency > 1:
                # Several streams take turns even where calls come one by one, and then each finds its memory
                # cold: so a call that is alone has a stream to itself.
                beside = compiled(options.concurrency - 1)
                requests += [beside.create_infer_request() for _ in range(options.concurrency - 1)]
        except Exception as error:  # every failure of the C++ side arrives as a RuntimeError of many lines
            raise BundleError(f"OpenVINO cannot load {path}: {_reason(error)}") from error
        # A request runs one call at a time, and is handed from call to call.
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()
        for request in reversed(requests):
            self._requests.put(request)
        self.provider = "CPU " + str(alone.get_property("INFERENCE_PRECISION_HINT").to_string())

    @classmethod
    def version(cls) -> str:
        """The version of the openvino package."""
        return version("openvino")

    def _run(self, feeds: Feeds) -> Outputs:
        request = self._requests.get()
        try:
            request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            return {name: request.get_tensor(name).data.copy() for name in self.signature.output_names}
        finally:
            self._requests.put(request)

    def close(self) -> None:
        """Drop the requests, and with them the compiled model."""
        self._requests = queue.LifoQueue()


def _reason(error: BaseException) -> str:
    """The last line that says something; the first ones name OpenVINO's own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


RUNTIME = OpenVino
