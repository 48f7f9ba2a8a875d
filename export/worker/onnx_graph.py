"""An ONNX file that was parsed, once: its graph, and the weights that stand beside it where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.export.formats.onnx import external, file
from pinnace.export.formats.onnx.external import StoredWeight
from pinnace.export.precision import graphs
from pinnace.models.errors import SourceError, error_lines

if TYPE_CHECKING:
    import onnx

# Operators of 8-bit integers, beside those whose names begin with QLinear.
_INTEGERS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    | {"QGemm", "QAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"}
)


@dataclass(frozen=True)
class OnnxGraph:
    """A graph and what is known of it.

    Attributes:
        model: the graph, with those of its weights that stand in its file or are small.
        weights: the others, by name.
        stood_beside: whether any stood beside its file, small ones included.
    """

    model: onnx.ModelProto
    weights: Mapping[str, StoredWeight] = field(default_factory=dict)
    stood_beside: bool = False

    @classmethod
    def read(cls, path: Path) -> OnnxGraph:
        """Parse a file; weights beside it are looked for and not read.

        Raises:
            SourceError: it is no ONNX, or its weights are not all there.
        """
        import onnx

        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf's DecodeError, and what damaged bytes lead to
            raise SourceError(
                f"{path} cannot be read as an ONNX model: {error_lines(error)[0]}",
                hint="if it is damaged or cut short, copy or download it again",
            ) from error
        weights = external.take_out(model, path)
        return cls(model, weights or {}, stood_beside=weights is not None)

    def write(self, path: Path) -> None:
        """Write it with its weights: in one file, or in two where one cannot hold them."""
        import onnx

        if not self.weights:
            path.write_bytes(self.model.SerializeToString(deterministic=True))
            return
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        file.write(model, self.weights, path)

    def with_weights_in_use(self) -> OnnxGraph:
        """The same without weights that no node reads any more."""
        used = {name for node in self.model.graph.node for name in graphs.reads(node)}
        weights = {name: weight for name, weight in self.weights.items() if name in used}
        return replace(self, weights=weights)

    @property
    def precision(self) -> str:
        """What it computes in: `fp32`, `fp16` or `int8`."""
        import onnx

        nodes = self.model.graph.node
        if any(node.op_type in _INTEGERS or node.op_type.startswith("QLinear") for node in nodes):
            return "int8"
        sizes = dict.fromkeys(map(int, (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)), 0)
        tensors = [(int(tensor.data_type), tensor.ByteSize()) for tensor in self.model.graph.initializer]
        for dtype, size in (*tensors, *((one.dtype, one.nbytes) for one in self.weights.values())):
            if dtype in sizes:
                sizes[dtype] += size
        return "fp16" if sizes[onnx.TensorProto.FLOAT16] > sizes[onnx.TensorProto.FLOAT] else "fp32"

    @property
    def activations(self) -> str | None:
        """What flows between its 8-bit nodes, as `Variant.activations` says it; None where it is no integers.

        That is the type of the zero points with which activations are quantised. A file of which only the
        weights are quantised has none.
        """
        from onnx import TensorProto, numpy_helper

        graph = self.model.graph
        stored = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                stored[node.output[0]] = node.attribute[0].t
        kinds, zero = set(), True
        for node in graph.node:
            if node.op_type == "DynamicQuantizeLinear":
                kinds.add(int(TensorProto.UINT8))
            elif node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
                if node.input[0] in stored or node.input[0] in self.weights:
                    continue
                point = stored.get(node.input[2]) if len(node.input) > 2 else None
                # Without a zero point it is 0, of the type that an attribute names, or uint8.
                named = [each.i for each in node.attribute if each.name == "output_dtype" and each.i]
                kinds.add(point.data_type if point is not None else next(iter(named), TensorProto.UINT8))
                zero = zero and (point is None or not numpy_helper.to_array(point).any())
        if TensorProto.UINT8 in kinds:
            return "uint8"
        if TensorProto.INT8 in kinds:
            return "int8" if zero else "int8-asymmetric"
        return None

    @property
    def batch_ranges(self) -> bool:
        """Whether its 8-bit numbers have the range of a whole batch, so that images affect one another."""
        return any(node.op_type == "DynamicQuantizeLinear" for node in self.model.graph.node)
