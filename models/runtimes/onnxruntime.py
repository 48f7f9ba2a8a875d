"""ONNX Runtime, on the CPU or through its CUDA provider."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.models.bundle.signature import Signature
from pinnace.models.cpus import saturates
from pinnace.models.errors import BundleError, UsageError, error_lines
from pinnace.models.install import install_line
from pinnace.models.packages import installed_versions
from pinnace.models.runtimes.base import Feeds, Outputs, Runtime, RuntimeOptions

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# The kinds of hardware that a provider may have a device of, as onnxruntime calls them.
_KINDS = {"gpu": "GPU", "npu": "NPU"}
_ERRORS_ONLY = 3

# The package reports its use to its maker, and keeps a file in the home folder for it, unless this is set
# before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class OnnxRuntime(Runtime):
    """Runs `.onnx` files with an explicit thread count and no spinning between calls."""

    name = "onnxruntime"
    formats = ("onnx",)
    module = "onnxruntime"
    extra = "cpu"
    rank = 10
    devices = ("cpu", "cuda", "gpu", "npu")

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        import onnxruntime

        super().__init__(path, signature, options)
        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        settings = self._session_options(options)
        if self.device in _KINDS:
            self._open_on_device(settings)
            return
        wanted = _PROVIDERS[self.device]
        if wanted not in onnxruntime.get_available_providers():
            raise UsageError(
                f"this onnxruntime has no {wanted}",
                expected=wanted,
                got=", ".join(onnxruntime.get_available_providers()),
                hint=install_line("gpu") if self.device == "cuda" else None,
            )
        providers: list[Any] = [wanted]
        if self.device == "cuda":
            # TF32 rounds the inputs of fp32 convolutions to 10 bits: more than the tolerance of fp32 allows.
            providers = [(wanted, {"use_tf32": "0"}), _PROVIDERS["cpu"]]
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), settings, providers=providers)
        except Exception as error:  # every failure of the C++ side arrives as a class of its own
            raise BundleError(f"ONNX Runtime cannot load {path}: {error_lines(error)[0]}") from error
        self.provider = self._session.get_providers()[0]
        if self.provider != wanted:
            # A provider whose libraries fail to load is replaced by the CPU without an error.
            raise UsageError(
                f"ONNX Runtime fell back to {self.provider}",
                expected=wanted,
                got=self.provider,
                hint="run `pinnace doctor`; CUDA and cuDNN must be of the versions this onnxruntime needs",
            )

    def _open_on_device(self, settings: Any) -> None:
        """Load the file for the first device of a kind that one of the providers has."""
        import onnxruntime

        found = _devices(_KINDS[self.device])
        if not found:
            raise UsageError(
                str(self.device_problem(self.device)),
                got=self.device,
                hint="`pinnace doctor` lists the devices that it finds",
            )
        try:
            settings.add_provider_for_devices(found[:1], {})
            self._session = onnxruntime.InferenceSession(str(self.path), settings)
        except Exception as error:  # as above
            raise BundleError(f"ONNX Runtime cannot load {self.path}: {error_lines(error)[0]}") from error
        self.provider = self._session.get_providers()[0]
        if self.provider != found[0].ep_name:
            raise UsageError(
                f"ONNX Runtime fell back to {self.provider}", expected=found[0].ep_name, got=self.provider
            )

    def _session_options(self, options: RuntimeOptions) -> Any:
        """How the session is to run; docs/runtime-settings.md has what each setting brings."""
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        # ONNX Runtime sizes its pool from the host, not from the cgroup, so it is always given.
        settings.intra_op_num_threads = options.threads
        # Where processes share the CPUs, threads that spin take them from one another: 18 ms became 22. A
        # process that is alone would gain: 6.3 ms for 9.6 with 2 threads.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if saturates():
            # The exact product of uint8 and int8. It is not free where there is VNNI: int8 EfficientNet-Lite0
            # took 9.8 ms with it and 4.8 ms without, and files with QGemm do not load.
            settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.log_severity_level = _ERRORS_ONLY
        return settings

    @classmethod
    def device_problem(cls, device: str) -> str | None:
        """Why it does not work on a device: this build has no provider for it."""
        import onnxruntime

        if device in _KINDS:
            kind = _KINDS[device]
            return None if _devices(kind) else f"no provider of this onnxruntime has a device of kind {kind}"
        provider = _PROVIDERS.get(device)
        if provider in onnxruntime.get_available_providers():
            return None
        return f"this onnxruntime has no {provider or device}"

    @classmethod
    def found_devices(cls) -> tuple[str, ...]:
        """The providers of this build, and the devices that those of them have which say so."""
        import onnxruntime

        providers = tuple(onnxruntime.get_available_providers())
        return (
            *providers,
            *(f"{each.device.type.name} of {each.ep_name} ({each.device.vendor})" for each in _devices()),
        )

    @classmethod
    def version(cls) -> str:
        """The version of the onnxruntime package, CPU or GPU build."""
        for number in installed_versions(("onnxruntime", "onnxruntime-gpu")).values():
            return number
        import onnxruntime

        return str(onnxruntime.__version__)

    @classmethod
    def snippet(cls, file: Path) -> str:
        """A session on the CPU."""
        return f"""\
import onnxruntime

options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # 8-bit products that do not saturate
session = onnxruntime.InferenceSession(str(DATA / {file.name!r}), options, providers=["CPUExecutionProvider"])


def run(feeds):
    return session.run(list(outputs), feeds)
"""

    def _run(self, feeds: Feeds) -> Outputs:
        if self.device == "cuda":
            return self._run_bound(feeds)
        names = list(self.signature.output_names)
        arrays = self._session.run(names, dict(feeds))
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}

    def _run_bound(self, feeds: Feeds) -> Outputs:
        """Execute with inputs and outputs in device memory: one copy there and one back, none in between.

        The binding is made for each call, so that several threads can run one session.
        """
        import onnxruntime

        binding = self._session.io_binding()
        for name, array in feeds.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array, self.device, 0)
            binding.bind_ortvalue_input(name, value)
        for name in self.signature.output_names:
            binding.bind_output(name, self.device, 0)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        arrays = binding.copy_outputs_to_cpu()
        return {
            # Copied: on the CPU, which runs this path in the tests, the array is the session's own memory.
            name: np.array(array)
            for name, array in zip(self.signature.output_names, arrays, strict=True)
        }

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def _devices(kind: str | None = None) -> list[Any]:
    """The devices of the providers, of one kind or of all; none before onnxruntime 1.22, which cannot say."""
    import onnxruntime

    listed: list[Any] = getattr(onnxruntime, "get_ep_devices", list)()
    return [device for device in listed if kind in (None, device.device.type.name)]


RUNTIME = OnnxRuntime
