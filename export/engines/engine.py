"""One TensorRT engine from one ONNX file: parse, profile, build, serialise.

The network is strongly typed, so the precision is the file's: fp16 is a converted file, int8 one with Q and
DQ nodes. That is the one way that works from TensorRT 10.3 to 11, which has no precision flags any more.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import CheckFailed
from pinnace.models.files import write_atomic
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.runtimes.tensorrt import TensorRt, logger

# Engines are tuned for this batch and run with any in their range.
OPTIMAL_BATCH = 1


def build_engine(
    runtime: type[TensorRt],
    path: Path,
    signature: Signature,
    batch: tuple[int, int],
    *,
    cache: Path,
    log: Path,
    progress: Progress = ignore,
) -> bytes:
    """Build an engine for the GPU of this machine; for TensorRT RTX, for any if there is none.

    Args:
        runtime: `TensorRt` or `TensorRtRtx`; its package is installed.
        path: an ONNX file.
        signature: what the manifest says of its inputs and outputs.
        batch: smallest and largest batch.
        cache: file with the measurements of earlier builds; read where it is there, and written.
        log: file for the builder's warnings and errors; removed where there are none.
        progress: told of TensorRT's phases, which run inside one another, from its threads.

    Returns:
        The serialised engine.

    Raises:
        CheckFailed: TensorRT cannot parse the file or build it; the message has its own reason.
    """
    trt = importlib.import_module(runtime.module)
    messages = logger(runtime.module)
    messages.lines.clear()
    try:
        builder = trt.Builder(messages)
        network = builder.create_network(_strongly_typed(trt))
        _parse(trt, network, path, signature, messages)
        config = builder.create_builder_config()
        # TF32 rounds the inputs of fp32 convolutions to 10 bits: ten times the error that fp32 is allowed.
        config.clear_flag(trt.BuilderFlag.TF32)
        config.add_optimization_profile(_profile(builder, network, batch))
        timings = _use_cache(config, cache) if runtime.keeps_timings else None
        monitor = _monitor(trt, progress)
        config.progress_monitor = monitor
        engine = builder.build_serialized_network(network, config)
        if monitor.failure is not None:
            raise monitor.failure
        if engine is None:
            raise CheckFailed(
                f"{runtime.name} cannot build an engine from {path.name}: "
                + messages.reason("it gives no reason")
            )
        if timings is not None:
            _write_cache(config, cache)
        return bytes(memoryview(engine))
    finally:
        if messages.lines:
            log.write_text("".join(f"{line}\n" for line in messages.lines), encoding="utf-8")
        else:
            log.unlink(missing_ok=True)


def _strongly_typed(trt: Any) -> int:
    """The flags of a strongly typed network: needed before TensorRT 11, where every network is one."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: Any, network: Any, path: Path, signature: Signature, messages: Any) -> None:
    parser = trt.OnnxParser(network, messages)
    if not parser.parse_from_file(str(path)):
        error = parser.get_error(0)
        node = " ".join(filter(None, (error.node_operator(), error.node_name())))
        raise CheckFailed(
            f"TensorRT cannot parse {path.name}: "
            + (f"node {node}: " if node else "")
            + " ".join(error.desc().split()),
            hint="leave the variant out with --variant, or export with another --opset",
        )
    got = [network.get_input(index).name for index in range(network.num_inputs)]
    got += [network.get_output(index).name for index in range(network.num_outputs)]
    want = [*signature.input_names, *signature.output_names]
    if got != want:
        raise CheckFailed(
            f"{path.name} has other inputs and outputs than the manifest says",
            expected=", ".join(want),
            got=", ".join(got) or "none",
        )


def _profile(builder: Any, network: Any, batch: tuple[int, int]) -> Any:
    """One profile for the batch range; a dynamic dimension that is not the first stays 1."""
    smallest, largest = batch
    optimal = min(max(OPTIMAL_BATCH, smallest), largest)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        sizes = [
            tuple(dim if dim >= 0 else size if axis == 0 else 1 for axis, dim in enumerate(shape))
            for size in (smallest, optimal, largest)
        ]
        profile.set_shape(tensor.name, *sizes)
    return profile


def _use_cache(config: Any, path: Path) -> Any | None:
    """Give the builder the timings of earlier builds; those of another GPU or version it refuses itself."""
    with warnings.catch_warnings():
        # TensorRT RTX, with which this is tested, has the functions too, and says that they do nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        for data in (path.read_bytes() if path.is_file() else b"", b""):
            timings = config.create_timing_cache(data)
            if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
                return timings
    return None


def _write_cache(config: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        timings = config.get_timing_cache()
        if timings is not None:
            write_atomic(path, bytes(memoryview(timings.serialize())))


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Passes on what TensorRT reports; what `progress` raises, Ctrl-C too, ends the build."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps
            self._report(phase, 0)

        def step_complete(self, phase: str, step: int) -> bool:
            self._report(phase, step + 1)
            return self.failure is None

        def phase_finish(self, phase: str) -> None:
            self._report(phase, self._steps.get(phase, 0))

        def _report(self, phase: str, done: int) -> None:
            try:
                progress(Event(Stage.BUILD, done=done, total=self._steps.get(phase, 0), detail=phase))
            except BaseException as error:  # it must not cross TensorRT's own code
                self.failure = self.failure or error

    return Monitor()
