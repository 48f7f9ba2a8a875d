"""CUDA without torch: which GPU is here, and memory and streams on it, through cuda-bindings."""

from __future__ import annotations

import ctypes
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PACKAGE = "cuda-bindings"

# cuda-python up to 12.6, as JetPack 6 has it, knows only the second.
_MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_STREAM_NON_BLOCKING = 1


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed; the message names the call and CUDA's own reason."""


@dataclass(frozen=True)
class Gpu:
    """A GPU and its driver.

    Attributes:
        name: as CUDA reports it.
        compute_capability: such as `8.7`.
        driver: the driver's version, or that of CUDA where the driver does not say.
    """

    name: str
    compute_capability: str
    driver: str


def bindings() -> Any | None:
    """The module with the CUDA runtime's functions, or None where the package is missing."""
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def call(name: str, *arguments: object) -> Any:
    """Call a function of the CUDA runtime.

    Returns:
        What it gives beside its status: one value, or None.

    Raises:
        CudaError: the package is missing, or the status is not success.
    """
    runtime = bindings()
    if runtime is None:
        raise CudaError(f"the package {PACKAGE} is not installed")
    status, *values = getattr(runtime, name)(*arguments)
    if int(status) != 0:
        described, text = runtime.cudaGetErrorString(status)
        reason = text.decode() if int(described) == 0 and isinstance(text, bytes) else f"error {int(status)}"
        raise CudaError(f"{name} failed: {reason}")
    return values[0] if values else None


def unavailable_reason() -> str | None:
    """Why no GPU can be used here, or None if one can."""
    if bindings() is None:
        return f"the package {PACKAGE} is not installed"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver here (libcuda.so.1 is not found)"
    try:
        count = call("cudaGetDeviceCount")
    except CudaError as error:
        return f"CUDA finds no GPU here: {error}"
    return None if count else "CUDA finds no GPU here"


def gpu() -> Gpu:
    """The first GPU that this process may use.

    Raises:
        CudaError: there is none.
    """
    properties = call("cudaGetDeviceProperties", 0)
    return Gpu(
        name=properties.name.split(b"\0")[0].decode(),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=_driver(),
    )


def _driver() -> str:
    try:
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", _DRIVER_FILE.read_text())
    except OSError:
        found = None
    if found is not None:
        return found.group()
    number = int(call("cudaDriverGetVersion"))
    return f"CUDA {number // 1000}.{number % 1000 // 10}"


class Stream:
    """A CUDA stream: what is put on it runs in order, beside other streams."""

    def __init__(self) -> None:
        self._stream: Any = call("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done.

        Raises:
            CudaError: something on the stream failed.
        """
        call("cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroy the stream; a second call does nothing."""
        if self._stream is not None:
            self._stream = None
            call("cudaStreamDestroy", self.handle)


class Buffer:
    """Device memory for one tensor, and page-locked host memory of the same size that copies go through.

    Attributes:
        device: address of the device memory.
    """

    def __init__(self, size: int) -> None:
        """Allocate both.

        Args:
            size: bytes.

        Raises:
            CudaError: there is not enough memory; nothing stays allocated.
        """
        size = max(size, 1)
        self._host = int(call("cudaMallocHost", size))
        try:
            self.device = int(call("cudaMalloc", size))
        except CudaError:
            call("cudaFreeHost", self._host)
            raise
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._host))

    def upload(self, array: npt.NDArray[np.generic], stream: Stream) -> None:
        """Copy a contiguous array to the device; `array` may change as soon as this returns."""
        np.copyto(self._bytes[: array.nbytes], array.reshape(-1).view(np.uint8))
        self._copy(self.device, self._host, array.nbytes, "cudaMemcpyHostToDevice", stream)

    def start_download(self, size: int, stream: Stream) -> None:
        """Put the copy of the first `size` bytes to the host on the stream."""
        self._copy(self._host, self.device, size, "cudaMemcpyDeviceToHost", stream)

    def read(self, shape: tuple[int, ...], dtype: str) -> npt.NDArray[np.generic]:
        """What `start_download` brought, once the stream has been synchronised; owned by the caller."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        array: npt.NDArray[np.generic] = self._bytes[:size].copy().view(dtype).reshape(shape)
        return array

    def _copy(self, to: int, source: int, size: int, kind: str, stream: Stream) -> None:
        kinds: Any = bindings()
        call("cudaMemcpyAsync", to, source, size, getattr(kinds.cudaMemcpyKind, kind), stream.handle)

    def close(self) -> None:
        """Free both; a second call does nothing."""
        if self._host:
            host, self._host = self._host, 0
            call("cudaFree", self.device)
            call("cudaFreeHost", host)
