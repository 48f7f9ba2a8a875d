"""TorchScript through libtorch, on the CPU or on CUDA."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, UsageError, error_lines
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions

# The end of a snippet whose beginning has made `model`.
CALL_MODEL = """

def run(feeds):
    results = model(*(torch.from_numpy(array.copy()) for array in feeds.values()))
    results = (results,) if isinstance(results, torch.Tensor) else results
    return [result.detach().numpy() for result in results]
"""


class TorchScriptRuntime(Runtime):
    """Runs traced and frozen `.pt` files."""

    name = "torchscript"
    formats = ("torchscript",)
    module = "torch"
    extra = "export"
    rank = 50
    devices = ("cpu", "cuda")

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        import torch

        super().__init__(path, signature, options)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("this torch sees no CUDA device", expected="cuda", got="cpu")
        torch.set_num_threads(options.threads)
        if self.device == "cuda":
            # cuDNN would round the inputs of fp32 convolutions to 10 bits (TF32): more than fp32 is allowed.
            torch.backends.cudnn.allow_tf32 = False
        self._module: Any = self._load()
        self._device = torch.device(self.device)
        self.provider = "CPU" if self.device == "cpu" else torch.cuda.get_device_name(self._device)

    def _load(self) -> Any:
        import torch

        try:
            with warnings.catch_warnings():
                # torch.jit is deprecated upstream and still what people deploy.
                warnings.simplefilter("ignore")
                return torch.jit.load(  # type: ignore[no-untyped-call]
                    str(self.path), map_location=self.device
                ).eval()
        except (RuntimeError, ValueError) as error:
            raise BundleError(f"torch cannot load {self.path}: {error_lines(error)[0]}") from error

    @classmethod
    def device_problem(cls, device: str) -> str | None:
        """Why it does not work on a device: torch sees none."""
        if device == "cuda":
            import torch

            return None if torch.cuda.is_available() else "this torch sees no CUDA device"
        return super().device_problem(device)

    @classmethod
    def version(cls) -> str:
        """The version of torch."""
        return version("torch")

    @classmethod
    def snippet(cls, file: Path) -> str:
        """A module of libtorch."""
        return f"import torch\n\nmodel = torch.jit.load(str(DATA / {file.name!r})).eval()\n{CALL_MODEL}"

    def _run(self, feeds: Feeds) -> Outputs:
        import torch

        torch.set_num_threads(self.threads)
        # The profiling executor compiles anew for every batch size, seconds each time, and what it compiles
        # is no faster on a CPU.
        profiled = torch.jit.optimized_execution(self._device.type != "cpu")  # type: ignore[attr-defined]
        with torch.inference_mode(), profiled:
            tensors = [torch.from_numpy(_writable(feeds[name])) for name in self.signature.input_names]
            if self.device == "cuda":
                # Page-locked memory is copied at full speed, and while the host goes on.
                tensors = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
            results = self._module(*tensors)
        results = (results,) if isinstance(results, torch.Tensor) else tuple(results)
        # Copied: a result may be an input, a constant of the module, or a view of another result.
        return {
            name: result.detach().cpu().numpy().copy()
            for name, result in zip(self.signature.output_names, results, strict=True)
        }

    def close(self) -> None:
        """Drop the module."""
        self._module = None


def _writable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.flags.writeable else array.copy()


RUNTIME = TorchScriptRuntime
