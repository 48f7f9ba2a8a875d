"""A GPU that is not there: the CUDA calls and the TensorRT runtime that we use, on the host and ONNX Runtime.

Copies and executions happen when the stream is synchronised, never earlier, so what does not wait reads
rubbish; a copy beyond an allocation, and a free of what is not allocated, is an error.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

OUT_OF_MEMORY = 2
INVALID = 1


class Cuda:
    """The functions of `cuda.bindings.runtime` that we call; `live` holds what is allocated."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, *, memory: int = 1 << 30) -> None:
        self.live: dict[int, np.ndarray] = {}
        self.streams: dict[int, list[Callable[[], object]]] = {}
        self.memory = memory
        self.name, self.capability, self.failure = b"Imitation GPU\0\0", (8, 7), 0

    def cudaGetErrorString(self, status: int) -> tuple[int, bytes]:
        return 0, {INVALID: b"invalid argument", OUT_OF_MEMORY: b"out of memory"}.get(
            status, b"unknown error"
        )

    def cudaGetDeviceCount(self) -> tuple[int, int]:
        return 0, 1

    def cudaDriverGetVersion(self) -> tuple[int, int]:
        return 0, 12060

    def cudaGetDeviceProperties(self, device: int) -> tuple[int, Any]:
        major, minor = self.capability
        return 0, SimpleNamespace(name=self.name, major=major, minor=minor)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        handle = 70 + len(self.streams)
        self.streams[handle] = []
        return 0, handle

    def cudaStreamDestroy(self, handle: int) -> tuple[int]:
        return (0 if self.streams.pop(handle, None) is not None else INVALID,)

    def cudaStreamSynchronize(self, handle: int) -> tuple[int]:
        work, self.streams[handle] = self.streams[handle], []
        for item in work:
            item()
        return (self.failure,)

    def cudaMalloc(self, size: int) -> tuple[int, int | None]:
        if size > self.memory - sum(block.nbytes for block in self.live.values()):
            return OUT_OF_MEMORY, None
        block = np.full(size, 0xFF, np.uint8)
        self.live[block.ctypes.data] = block
        return 0, block.ctypes.data

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple[int]:
        return (0 if self.live.pop(address, None) is not None else INVALID,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, handle: int) -> tuple[int]:
        if size > min(self.live[to].nbytes, self.live[source].nbytes):
            return (INVALID,)
        self.streams[handle].append(lambda: ctypes.memmove(to, source, size))
        return (0,)


class Engine:
    """An engine that answers as ONNX Runtime does; it is its own execution context."""

    def __init__(self, trt: Any, cuda: Cuda, onnx: str, batch: tuple[int, int]) -> None:
        self._trt, self._cuda, self._batch = trt, cuda, batch
        self._session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        self._inputs: dict[str, list[Any]] = {put.name: put.shape for put in self._session.get_inputs()}
        self._outputs: dict[str, list[Any]] = {put.name: put.shape for put in self._session.get_outputs()}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.num_io_tensors = len(self._inputs) + len(self._outputs)

    def create_execution_context(self) -> Engine:
        return self

    def get_tensor_name(self, index: int) -> str:
        return (list(self._inputs) + list(self._outputs))[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.float32

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        smallest, largest = self._batch
        return [(size, *self._inputs[name][1:]) for size in (smallest, smallest, largest)]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        (batch, *_) = next(iter(self._shapes.values()))
        return (batch, *self._outputs[name][1:]) if name in self._outputs else self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        def execute() -> None:
            feeds = {name: self._memory(name).copy() for name in self._inputs}
            for name, answer in zip(self._outputs, self._session.run(None, feeds), strict=True):
                self._memory(name)[...] = answer

        self._cuda.streams[handle].append(execute)
        return True

    def _memory(self, name: str) -> np.ndarray:
        shape = self.get_tensor_shape(name)
        block = self._cuda.live[self._addresses[name]]
        return block[: 4 * int(np.prod(shape))].view(np.float32).reshape(shape)


def runtime_class(trt: Any, cuda: Cuda, onnx: str, batch: tuple[int, int]) -> type:
    """What stands for `trt.Runtime`; every engine of at least 100 bytes is the one of `onnx`."""

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            if len(data) < 100:
                self._log.log(trt.ILogger.Severity.ERROR, "the plan\nis too short")
                return None
            return Engine(trt, cuda, onnx, batch)

    return Runtime
