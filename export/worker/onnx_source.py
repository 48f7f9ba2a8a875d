"""A source that is an ONNX file already: it becomes a variant as it is, and gives its own golden outputs."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.export.request import ExportRequest
from pinnace.export.worker import graph_start, onnx_outputs
from pinnace.export.worker.graph_start import GraphStart
from pinnace.export.worker.onnx_graph import OnnxGraph
from pinnace.export.worker.onnx_upkeep import keep_up
from pinnace.export.worker.training_mode import require_inference
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.manifest import weights_file
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.cpus import available_cpus
from pinnace.models.errors import MissingDependency, SourceError, error_lines
from pinnace.models.install import install_line
from pinnace.models.loaders.facts import Facts
from pinnace.models.loaders.metadata import read_metadata

_DTYPES = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "int64", "int32", "int16", "int8", "uint8", "bool")},
}
_FATAL_ONLY = 4
# Where it happened in the code of ONNX Runtime, with the signature of the function.
_PLACE = re.compile(r"^/\S+:\d+ .*\) (?=[A-Z])")
_COPY = re.compile(r"^Load model from .* failed: ?")
_WITHOUT_ONNX = "if its weights stand in files beside it: {}"


class OnnxSource:
    """An ONNX file, opened in ONNX Runtime without any optimisation.

    Attributes:
        inputs: its inputs; a dynamic first dimension that all share is called `batch`.
        notes: sentences for the user.
        precision: what it computes in: `fp32`, `fp16` or `int8`.
        activations: what flows between its 8-bit nodes; see `pinnace.models.bundle.manifest.Variant`.
        batch_ranges: its 8-bit numbers have the range of a whole batch, so that images affect one another.
    """

    def __init__(self, path: Path, folder: Path, output: str | None = None) -> None:
        """Open a file.

        Args:
            path: the file.
            folder: where the bundle is being written; the file is opened there, away from its neighbours.
            output: the output that is meant; a tensor inside the graph becomes its only output.

        Raises:
            SourceError: it cannot be read, or has inputs or outputs that are no tensors.
            MissingDependency: ONNX Runtime is not installed, or onnx is needed and is not.
            CheckFailed: it was exported in training mode.
        """
        self.notes: tuple[str, ...] = ()
        self._graph = None
        self._labels: tuple[str, ...] | None = None
        self.precision = "fp32"
        if importlib.util.find_spec("onnx") is not None:
            self._graph = OnnxGraph.read(path)
            self.precision = self._graph.precision
            require_inference(self._graph.model)
        self.activations = None if self._graph is None else self._graph.activations
        self.batch_ranges = self._graph is not None and self._graph.batch_ranges
        self._path = folder / f"onnx-{self.precision}.onnx"
        if self._graph is not None and self._graph.stood_beside:
            self._write(self._graph)
            self.notes = (self._about_weights(path),)
        else:
            shutil.copyfile(path, self._path)
        try:
            self._session = _open(self._path)
        except SourceError as error:
            raise SourceError(
                f"{path} cannot be read as an ONNX model: {error.message}",
                hint=_remedy(error.message)
                or (_WITHOUT_ONNX.format(install_line("export")) if self._graph is None else None),
            ) from error
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
        self._outputs = [_spec(value, "output").name for value in self._tensors(output)]

    def _tensors(self, output: str | None) -> Sequence[Any]:
        """The outputs; the copy is changed where another tensor is meant, or where some are no tensors of
        numbers, or lack the batch of 1.
        """
        values: Sequence[Any] = self._session.get_outputs()
        if self._graph is not None and output is not None and output not in {each.name for each in values}:
            if not onnx_outputs.take_inner(self._graph.model, output):
                return values
            left_out = ", ".join(each.name for each in values)
            self.notes += (f"{output}, a tensor inside the file, is the output, in place of {left_out}",)
            self._graph = self._graph.with_weights_in_use()
            self._write(self._graph)
            self._session = _open(self._path)
            return self._tensors(None)
        inputs = self._session.get_inputs()
        unfit = {value.name for value in values if _kind(value) not in _DTYPES}
        one_image = len(inputs) == 1 and len(inputs[0].shape) in (3, 4) and inputs[0].shape[0] == 1
        bare = {value.name for value in values if one_image and _is_bare_row(value)}
        if self._graph is not None and not unfit and (changed := onnx_outputs.dequantise(self._graph.model)):
            self.notes += (f"outputs of whole numbers are what they stand for: {', '.join(changed)}",)
            self._write(self._graph)
            self._session = _open(self._path)
            return self._tensors(None)
        if not (unfit or bare) or self._graph is None:
            return values
        if unfit:
            replaced = onnx_outputs.keep_tensors(self._graph.model, unfit)
            if replaced is None:
                return values
            self._labels = replaced.labels
            self.notes += replaced.notes
            self._graph = self._graph.with_weights_in_use()
        if bare:
            onnx_outputs.add_batch(self._graph.model, bare)
            self.notes += (f"outputs without the batch of 1 were given it: {', '.join(sorted(bare))}",)
        self._write(self._graph)
        self._session = _open(self._path)
        left: Sequence[Any] = self._session.get_outputs()
        return left

    def _write(self, graph: OnnxGraph) -> None:
        """Write under another name first: the file that is open may be mapped."""
        beside = self._path.with_name(weights_file(self._path.name))
        with tempfile.TemporaryDirectory(dir=self._path.parent) as temporary:
            graph.write(Path(temporary, self._path.name))
            for file in Path(temporary).iterdir():
                file.replace(beside if file.name == beside.name else self._path)

    def _about_weights(self, path: Path) -> str:
        beside = self._path.with_name(weights_file(self._path.name))
        if not beside.is_file():
            return f"the weights beside {path.name} were moved into the file"
        return (
            f"the weights beside {path.name} are too many for one ONNX file, so in the bundle they stand "
            f"beside the graph as well, in {beside.name}"
        )

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
        facts = read_metadata(self._session.get_modelmeta().custom_metadata_map)
        if self._labels and facts.labels is None:
            facts = replace(facts, labels=self._labels, labels_from="ZipMap")
        return facts

    def start(self) -> GraphStart | None:
        """How an image enters the graph; None where it takes no image, or `onnx` is not installed."""
        (spec, *others) = self.inputs
        if others or len(spec.shape) not in (3, 4) or self._graph is None:
            return None
        return graph_start.read(self._graph, spec)

    @property
    def fixed_size(self) -> bool:
        """Whether its first input says the number of pixels."""
        return all(isinstance(dim, int) for dim in self.inputs[0].shape[1:])

    def keep_up(self, request: ExportRequest) -> str:
        """Change of the copy what has to be changed, and give its name; what was opened stays as it was.

        Raises:
            CheckFailed: an opset was asked for that the file cannot be converted to.
        """
        if self._graph is not None:
            done = keep_up(self._graph, request)
            self.notes += done.notes
            if done.graph is not None:
                self._write(done.graph)
        return self._path.name


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingDependency(
            "reading an ONNX file needs onnxruntime, which is not installed",
            hint=install_line("cpu"),
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


def _is_bare_row(value: Any) -> bool:
    """Whether an output is declared as numbers of one image, such as [4], and not of a batch of one."""
    shape: Sequence[Any] = value.shape or ()
    return len(shape) == 1 and isinstance(shape[0], int) and shape[0] > 1


def _kind(value: Any) -> str:
    kind: str = value.type
    return kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind


def _spec(value: Any, what: str) -> TensorSpec:
    kind = _kind(value)
    if kind not in _DTYPES:
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


def _remedy(reason: str) -> str | None:
    """What to do where ONNX Runtime does not know what a file is made of."""
    if "not a registered function" in reason:
        return (
            "the file has operators that ONNX Runtime alone does not know, such as those of "
            "onnxruntime-extensions: write it without them, from the decoded image to the scores"
        )
    if "IR version" in reason or "opset versions" in reason:
        return "pip install -U onnxruntime, or write the file with an older opset, such as 18"
    return None


def _reason(error: BaseException) -> str:
    """What ONNX Runtime says, in one line and without its numbers."""
    text = error_lines(error)[0]
    text = text.rpartition(" : ")[2] if text.startswith("[ONNXRuntimeError]") else text
    text = _COPY.sub("", text)  # not its name while the bundle is being written
    return _PLACE.sub("", text)
