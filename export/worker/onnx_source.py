"""A source that is an ONNX file already: it becomes a variant as it is, and gives its own golden outputs."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.export.request import ExportRequest
from pinnace.export.worker import graph_start
from pinnace.export.worker.graph_start import GraphStart
from pinnace.export.worker.onnx_upkeep import keep_up
from pinnace.export.worker.training_mode import require_inference
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.cpus import available_cpus
from pinnace.models.errors import MissingDependency, SourceError, error_lines
from pinnace.models.loaders.facts import Facts
from pinnace.models.loaders.metadata import read_metadata

_DTYPES = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "int64", "int32", "int16", "int8", "uint8", "bool")},
}
_FATAL_ONLY = 4
_COPY = re.compile(r"^Load model from .* failed: ?")


class OnnxSource:
    """An ONNX file, opened in ONNX Runtime without any optimisation.

    Attributes:
        inputs: its inputs; a dynamic first dimension that all share is called `batch`.
        notes: sentences for the user.
        batch_ranges: its 8-bit numbers have the range of a whole batch, so that images affect one another.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        """Open a file.

        Args:
            path: the file.
            folder: where the bundle is being written; the file is opened there, away from its neighbours.

        Raises:
            SourceError: it cannot be read, or has inputs or outputs that are no tensors.
            MissingDependency: ONNX Runtime is not installed, or onnx is needed and is not.
            CheckFailed: it was exported in training mode.
        """
        self.notes: tuple[str, ...] = ()
        self._copy = folder / f".{path.name}"
        shutil.copyfile(path, self._copy)
        try:
            self._session = _open(self._copy)
        except SourceError as error:
            self._copy.write_bytes(_with_weights(path, error))
            self._session = _open(self._copy)
            self.notes = (f"the weights beside {path.name} were moved into the file",)
        self.batch_ranges = False
        if importlib.util.find_spec("onnx") is not None:
            self._look_for_training()
        inputs = [_spec(value, "input") for value in self._session.get_inputs()]
        if not inputs:
            raise SourceError(f"{path} has no inputs")
        firsts = {spec.shape[:1] for spec in inputs}
        dynamic = len({str(first) for first in firsts}) == 1 and all(
            first and isinstance(first[0], str) for first in firsts
        )
        self.inputs = tuple(
            TensorSpec(spec.name, spec.dtype, (BATCH, *spec.shape[1:])) if dynamic else spec
            for spec in inputs
        )
        self._outputs = [_spec(value, "output").name for value in self._session.get_outputs()]

    def _look_for_training(self) -> None:
        import onnx

        model = onnx.load(str(self._copy))
        require_inference(model)
        self.batch_ranges = any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node)

    def run(self, feeds: Arrays) -> Arrays:
        """The file's outputs, by name.

        Raises:
            SourceError: it does not run on these inputs.
        """
        try:
            arrays = self._session.run(self._outputs, dict(feeds))
        except Exception as error:  # every failure of the C++ side arrives as a class of its own
            shapes = " and ".join(str(list(array.shape)) for array in feeds.values())
            raise SourceError(
                f"the ONNX file does not run on an input of shape {shapes}: {_reason(error)}",
                hint="give it another --input-size or --preprocess",
            ) from error
        return {name: np.asarray(array) for name, array in zip(self._outputs, arrays, strict=True)}

    def facts(self) -> Facts:
        """What the exporter wrote into the file of class names and preprocessing."""
        return read_metadata(self._session.get_modelmeta().custom_metadata_map)

    def start(self) -> GraphStart | None:
        """How an image enters the graph; None where it takes no image, or `onnx` is not installed."""
        (spec, *others) = self.inputs
        if others or len(spec.shape) != 4 or importlib.util.find_spec("onnx") is None:
            return None
        return graph_start.read(self._copy, spec)

    @property
    def fixed_size(self) -> bool:
        """Whether its first input says the number of pixels."""
        return all(isinstance(dim, int) for dim in self.inputs[0].shape[1:])

    def keep_up(self, request: ExportRequest) -> str:
        """Change of the copy what has to be changed, and give its precision; what was opened stays as it was.

        Raises:
            CheckFailed: an opset was asked for that the file cannot be converted to.
        """
        if importlib.util.find_spec("onnx") is None:
            return "fp32"
        done = keep_up(self._copy, request)
        self.notes += done.notes
        return done.precision

    def write(self, path: Path) -> None:
        """Move the copy to its place."""
        self._copy.replace(path)


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingDependency(
            "reading an ONNX file needs onnxruntime, which is not installed",
            hint="pip install 'pinnace[cpu]'",
        ) from None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = available_cpus()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _FATAL_ONLY
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # every failure of the C++ side arrives as a class of its own
        raise SourceError(_reason(error)) from error


def _with_weights(path: Path, problem: SourceError) -> bytes:
    """The model with the weights that stand beside the file, if that is what it lacks."""
    damaged = SourceError(
        f"{path} cannot be read as an ONNX model: {problem.message}",
        hint="if it is damaged or cut short, copy or download it again"
        if "Protobuf" in problem.message
        else None,
    )
    try:
        import onnx
        from onnx.external_data_helper import uses_external_data
    except ModuleNotFoundError:
        raise damaged from problem
    try:
        model = onnx.load(str(path), load_external_data=False)
        external = [tensor.name for tensor in model.graph.initializer if uses_external_data(tensor)]
    except Exception:  # protobuf's DecodeError, and what damaged bytes lead to
        raise damaged from problem
    if not external:
        raise damaged from problem
    try:
        data: bytes = onnx.load(str(path)).SerializeToString()
    except Exception as error:
        raise SourceError(
            f"the weights beside {path} cannot be read: {_reason(error)}",
            hint="copy the files that lie beside it as well",
        ) from error
    return data


def _spec(value: Any, what: str) -> TensorSpec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if not value.type.startswith("tensor(") or kind not in _DTYPES:
        raise SourceError(
            f"the ONNX file's {what} {value.name} cannot be stored in a bundle",
            expected="a tensor of numbers",
            got=value.type,
        )
    dims = tuple(
        dim if isinstance(dim, int) and dim > 0 else str(dim or f"{value.name}_{axis}")
        for axis, dim in enumerate(value.shape or ())
    )
    return TensorSpec(value.name, _DTYPES[kind], dims)


def _reason(error: BaseException) -> str:
    """What ONNX Runtime says, in one line and without its numbers."""
    text = error_lines(error)[0]
    text = text.rpartition(" : ")[2] if text.startswith("[ONNXRuntimeError]") else text
    return _COPY.sub("", text)  # not its name while the bundle is being written
