"""An ONNX file that was parsed, once: its graph, and the weights that stand beside it where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.export.formats.onnx import external, file
from pinnace.export.formats.onnx.external import StoredWeight
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
            raise SourceError(f"{path} cannot be read as an ONNX model: {error_lines(error)[0]}") from error
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
    def batch_ranges(self) -> bool:
        """Whether its 8-bit numbers have the range of a whole batch, so that images affect one another."""
        return any(node.op_type == "DynamicQuantizeLinear" for node in self.model.graph.node)
