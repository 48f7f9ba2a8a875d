"""OpenVINO on the CPU, in the precision of the file."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeAlias

from pinnace.models.bundle.signature import BATCH, Signature
from pinnace.models.cpus import has_avx512, saturates
from pinnace.models.errors import BundleError, UsageError, error_lines
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions

Shapes: TypeAlias = "dict[str, tuple[int, ...]] | None"

logger = logging.getLogger("pinnace.models")


class Requests:
    """Requests for inputs of some shapes. Each runs one call at a time, and is handed from call to call.

    At first there is one. The others, which take as much memory and time again, are made when a second call
    comes while the first is in work; until they are there, it waits for that one.

    Attributes:
        free: those that have nothing to do; the one that was used last, which is warm, is taken first.
        growth: the thread that makes the others, once it is needed.
    """

    def __init__(self, compile: Callable[[int], list[Any]], calls: int) -> None:
        """Make the first.

        Args:
            compile: makes requests for so many calls at once.
            calls: how many there are to be in the end.
        """
        self.free: queue.LifoQueue[Any] = queue.LifoQueue()
        self.growth: threading.Thread | None = None
        self._lock = threading.Lock()
        self._compile = compile
        self._missing = calls - 1
        self._put(1)

    @contextlib.contextmanager
    def taken(self) -> Iterator[Any]:
        """A request, for one call."""
        try:
            request = self.free.get_nowait()
        except queue.Empty:
            self._grow()
            request = self.free.get()
        try:
            yield request
        finally:
            self.free.put(request)

    def _grow(self) -> None:
        with self._lock:
            missing, self._missing = self._missing, 0
            if missing:
                growth = threading.Thread(target=self._try_to_put, args=(missing,), name="openvino")
                growth.start()
                self.growth = growth

    def _try_to_put(self, calls: int) -> None:
        try:
            self._put(calls)
        except BundleError as error:
            logger.warning("one call at a time, for no more fit: %s", error.message)

    def _put(self, calls: int) -> None:
        for request in self._compile(calls):
            self.free.put(request)


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
    extra = "openvino"
    rank = 20
    devices: ClassVar[tuple[str, ...]] = ("cpu", "gpu", "npu", "auto")
    precision: ClassVar[str] = "f32"
    may_crash_on = ("int8",)  # 2026.4 does while it compiles a Swin transformer of ours (LP_TRANSFORMS_MODE)

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        super().__init__(path, signature, options)
        openvino = import_openvino()
        if self.device != "cpu" and (problem := self.device_problem(self.device)) is not None:
            raise UsageError(
                problem, got=self.device, hint="`pinnace doctor` lists the devices that it finds"
            )
        self._plugin = self.device.upper()
        self._core = openvino.Core()
        self._tensor = openvino.Tensor
        self._options = options
        self._lock = threading.Lock()
        with self._loading():
            self._model = self._core.read_model(str(path))
        # Where every shape is known, a call is faster by a twentieth, in bf16 by a tenth.
        self._shapes: Shapes = None
        if all(isinstance(dim, int) or dim == BATCH for spec in signature.inputs for dim in spec.shape):
            self._shapes = {spec.name: spec.with_batch(options.batch) for spec in signature.inputs}
        self._of_other_shapes: Requests | None = None
        self._requests: Requests | None = self._made(self._shapes)

    def _made(self, shapes: Shapes) -> Requests:
        """Requests for inputs of these shapes; for any, where there are none.

        Several streams of one compiled model take turns even where calls come one by one, and find their
        memory cold: so a call that is alone has a stream to itself.
        """
        return Requests(lambda calls: self._compiled(shapes, calls), self._options.concurrency)

    def _compiled(self, shapes: Shapes, calls: int) -> list[Any]:
        with self._loading():
            model = self._model.clone()
            if shapes is not None:
                model.reshape({name: list(shape) for name, shape in shapes.items()})
            compiled = self._core.compile_model(model, self._plugin, self._settings(calls))
            requests = [compiled.create_infer_request() for _ in range(calls)]
        used = [name.strip("()") for name in compiled.get_property("EXECUTION_DEVICES")]
        if self._plugin == "AUTO":  # which knows no precision
            self.provider = f"AUTO: {', '.join(used)}"
        else:
            hint = compiled.get_property("INFERENCE_PRECISION_HINT")
            self.provider = f"{', '.join(used)} {hint.to_string()}"
        self.device = used[0].split(".")[0].lower()  # what `auto` came to
        return requests

    def _settings(self, calls: int) -> dict[str, Any]:
        """How so many calls at once are to run on the device."""
        of_cpu = self._compile_settings(calls)
        if self._plugin == "CPU":
            return of_cpu
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self._plugin == "GPU":
            settings["INFERENCE_PRECISION_HINT"] = self.precision  # an NPU has no float32
        if self._plugin == "AUTO":
            settings["DEVICE_PROPERTIES"] = {
                "CPU": of_cpu,
                "GPU": {"INFERENCE_PRECISION_HINT": self.precision},
            }
        return settings

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
    def preload(cls) -> None:
        """The package, which starts threads only when a model is compiled."""
        import_openvino()

    @classmethod
    def faster_than(cls) -> tuple[str, ...]:
        """ONNX Runtime, where there is AVX-512; on AVX2 it is OpenVINO that takes a tenth longer."""
        return ("onnxruntime",) if has_avx512() else ()

    @classmethod
    def device_problem(cls, device: str) -> str | None:
        """Why it does not work on a device: no plugin of OpenVINO finds one."""
        if device in ("cpu", "auto") or device not in cls.devices:
            return super().device_problem(device)
        found = import_openvino().Core().available_devices
        if any(name.split(".")[0] == device.upper() for name in found):
            return None
        return f"OpenVINO finds no {device.upper()} here"

    @classmethod
    def found_devices(cls) -> tuple[str, ...]:
        """OpenVINO's devices, with the name of each."""
        core = import_openvino().Core()
        return tuple(
            f"{name} ({core.get_property(name, 'FULL_DEVICE_NAME')})" for name in core.available_devices
        )

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
        with self._for(feeds).taken() as request:
            for name, array in feeds.items():
                # It lends its memory to what may write as well, though it does not.
                array = array if array.flags.writeable else array.copy()
                request.set_tensor(name, self._tensor(array, shared_memory=True))
            request.infer(share_outputs=True)
            return {name: request.get_tensor(name).data.copy() for name in self.signature.output_names}

    def _for(self, feeds: Feeds) -> Requests:
        assert self._requests is not None
        shapes = self._shapes
        if shapes is None or all(feeds[name].shape == shape for name, shape in shapes.items()):
            return self._requests
        with self._lock:
            if self._of_other_shapes is None:
                self._of_other_shapes = self._made(None)
            return self._of_other_shapes

    def close(self) -> None:
        """Drop the requests, and with them the compiled models."""
        for requests in (self._requests, self._of_other_shapes):
            if requests is not None and requests.growth is not None:
                requests.growth.join()
        self._requests = self._of_other_shapes = None
        self._model = None


RUNTIME = OpenVino
