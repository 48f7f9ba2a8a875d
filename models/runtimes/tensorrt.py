"""TensorRT engines on an NVIDIA GPU, 10.3 (JetPack 6) to 11, and TensorRT RTX by the same code."""

from __future__ import annotations

import contextlib
import importlib
import platform
import threading
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import EngineInfo, Variant
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, UsageError, error_lines
from pinnace.models.runtimes import cuda
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions


class TensorRt(Runtime):
    """Runs engines that `pinnace build` made on this machine: one context, one stream, one call at a time.

    Attributes:
        builds_without_gpu: its builder needs no GPU.
        keeps_timings: its builder measures, and can be given the measurements of an earlier build.
    """

    name = "tensorrt"
    formats = ("tensorrt",)
    module = "tensorrt"
    extra = "tensorrt"
    rank = 30
    devices = ("cuda",)
    concurrent = False  # one context, one stream
    builds_without_gpu: ClassVar[bool] = False
    keeps_timings: ClassVar[bool] = True

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        super().__init__(path, signature, options)
        trt = importlib.import_module(self.module)
        self._log = logger(self.module)
        self._context: Any = None
        self._kept_alive: tuple[Any, ...] = ()
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()  # closed last to first: the context before the memory it uses
        try:
            self._load(trt, path.read_bytes())
            self.provider = f"cuda: {cuda.gpu().name}"
        except Exception as error:
            self._context = None
            self._held.close()
            reason = error.message if isinstance(error, BundleError) else " ".join(error_lines(error))
            raise BundleError(f"{self.name} cannot load {path}: {reason}") from error

    def _load(self, trt: Any, data: bytes) -> None:
        self._log.lines.clear()
        runtime = trt.Runtime(self._log)
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise BundleError(self._log.reason("it is not an engine of this version"))
        self._check_tensors(trt, engine)
        self._stream = cuda.Stream()
        self._held.callback(self._stream.close)
        context = engine.create_execution_context()
        if context is None:
            raise BundleError(self._log.reason("it gives no execution context"))
        # The context does not keep the engine alive, nor the engine the runtime.
        self._context = context
        self._kept_alive = (engine, runtime)
        self._ranges = {
            name: tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(name, 0))
            for name in self.signature.input_names
        }
        for name, (_, _, largest) in self._ranges.items():
            context.set_input_shape(name, largest)
        self._buffers = {}
        for spec in (*self.signature.inputs, *self.signature.outputs):
            size = int(np.prod(_concrete(context, spec.name))) * np.dtype(spec.dtype).itemsize
            buffer = cuda.Buffer(size)
            self._held.callback(buffer.close)
            self._buffers[spec.name] = buffer
            context.set_tensor_address(spec.name, buffer.device)

    def _check_tensors(self, trt: Any, engine: Any) -> None:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        got = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name for name in names}
        want = {spec.name: spec.dtype for spec in (*self.signature.inputs, *self.signature.outputs)}
        if got != want:
            raise BundleError(f"it has the tensors {_listed(got)} where the manifest has {_listed(want)}")

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this runtime does not work here, or None if it does."""
        return super().unavailable_reason() or cuda.unavailable_reason() or cls.import_failure()

    @classmethod
    def import_failure(cls) -> str | None:
        """Why the package, which is installed, cannot be imported, or None if it can."""
        try:
            importlib.import_module(cls.module)
        except Exception as error:  # the wheels load their libraries on import, and raise what they like
            return f"{cls.module} cannot be imported: {' '.join(error_lines(error))}"
        return None

    @classmethod
    def install_hint(cls) -> str | None:
        """The command that installs what is missing; none brings a GPU."""
        missing = super().unavailable_reason() is not None or cuda.bindings() is None
        return cls.how_to_install() if missing else None

    @classmethod
    def version(cls) -> str:
        """The version of TensorRT."""
        return str(importlib.import_module(cls.module).__version__)

    @classmethod
    def here(cls, source: str, batch: tuple[int, int]) -> EngineInfo:
        """What an engine that is built now, on this machine, is tied to.

        Args:
            source: the ONNX variant that it is built from.
            batch: smallest and largest batch.
        """
        gpu = None if cuda.unavailable_reason() is not None else cuda.gpu()
        return EngineInfo(
            source=source,
            builder=cls.name,
            version=cls.version(),
            platform=f"{platform.system()} {platform.machine()}",
            batch=batch,
            gpu=None if gpu is None else gpu.name,
            compute_capability=None if gpu is None else gpu.compute_capability,
            driver=None if gpu is None else gpu.driver,
        )

    @classmethod
    def check_variant(cls, bundle: Bundle, variant: Variant) -> None:
        """Refuse an engine that was built elsewhere, or by another version.

        An engine that was built without a GPU, which only TensorRT RTX can do, is tied to no GPU.

        Raises:
            BundleError: it does not run here; the hint is the command that builds one that does.
        """
        made = variant.engine
        if made is None:
            raise BundleError(f"the manifest does not say which machine {variant.name} was built for")
        here = cls.here(made.source, made.batch)
        facts = [(f"{cls.name} {made.version}", f"{cls.name} {here.version}"), (made.platform, here.platform)]
        if made.gpu is not None:
            facts += [(_gpu(made), _gpu(here)), (f"driver {made.driver}", f"driver {here.driver}")]
        others = [(want, got) for want, got in facts if want != got]
        if others:
            raise BundleError(
                f"{variant.name} was built for another machine and does not run here",
                expected=", ".join(want for want, _ in others),
                got=", ".join(got for _, got in others),
                hint=f"build it here with: {build_command(bundle.folder, made.source, cls.name)}",
            )

    def _run(self, feeds: Feeds) -> Outputs:
        for name, array in feeds.items():
            smallest, _, largest = self._ranges[name]
            if not all(
                low <= dim <= high for low, dim, high in zip(smallest, array.shape, largest, strict=True)
            ):
                raise UsageError(
                    f"the engine was not built for this shape of {name}",
                    expected=f"{_shape(smallest)} to {_shape(largest)}",
                    got=_shape(array.shape),
                    hint="send smaller batches, or build an engine from a bundle with a larger batch range",
                )
        with self._lock:
            return self._execute(feeds)

    def _execute(self, feeds: Feeds) -> Outputs:
        context, stream = self._context, self._stream
        self._log.lines.clear()
        for name, array in feeds.items():
            context.set_input_shape(name, array.shape)
            self._buffers[name].upload(array, stream)
        if not context.execute_async_v3(stream.handle):
            raise RuntimeError(self._log.reason("the execution could not be started"))
        shapes = {spec.name: _concrete(context, spec.name) for spec in self.signature.outputs}
        for spec in self.signature.outputs:
            size = int(np.prod(shapes[spec.name])) * np.dtype(spec.dtype).itemsize
            self._buffers[spec.name].start_download(size, stream)
        stream.synchronize()
        return {
            spec.name: self._buffers[spec.name].read(shapes[spec.name], spec.dtype)
            for spec in self.signature.outputs
        }

    def close(self) -> None:
        """Free the context, the engine, the memory and the stream."""
        self._context = None
        self._kept_alive = ()
        self._held.close()


@cache
def logger(module: str) -> Any:
    """The logger of `tensorrt` or `tensorrt_rtx`: warnings and errors, kept until somebody reads them.

    There is one for the whole process, because TensorRT goes on using the first one that it was given.
    """
    trt = importlib.import_module(module)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self._errors: tuple[Any, ...] = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

        def log(self, severity: Any, message: str) -> None:
            if severity in self._errors:
                self.lines.append(f"error: {message}")
            elif severity == trt.ILogger.Severity.WARNING:
                self.lines.append(f"warning: {message}")

        def reason(self, otherwise: str) -> str:
            """The first error since the lines were cleared, in one line; it is the cause of the others."""
            errors = (line for line in self.lines if line.startswith("error: "))
            return " ".join(next(errors, otherwise).removeprefix("error: ").split())

    return Log()


def build_command(folder: Path, source: str, builder: str) -> str:
    """The command that builds an engine from one of a bundle's ONNX variants."""
    return f"pinnace build {folder} --variant {source} --runtime {builder}"


def _concrete(context: Any, name: str) -> tuple[int, ...]:
    shape = tuple(context.get_tensor_shape(name))
    if any(dim < 0 for dim in shape):
        raise BundleError(f"the shape of {name} depends on the data: {_shape(shape)}")
    return shape


def _gpu(engine: EngineInfo) -> str:
    return f"GPU {engine.gpu} of compute capability {engine.compute_capability}" if engine.gpu else "no GPU"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _listed(tensors: dict[str, str]) -> str:
    return ", ".join(f"{name}={dtype}" for name, dtype in sorted(tensors.items())) or "none"


RUNTIME = TensorRt
