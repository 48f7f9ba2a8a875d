"""Running a graph node by node, with all images at each, so that a node can be changed before it is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import graphs

if TYPE_CHECKING:
    import onnx

Array: TypeAlias = "npt.NDArray[np.generic]"


class Walk:
    """A graph that is being run.

    Attributes:
        model: sorted; constants may be replaced while it is walked, through `replace`.
        values: of tensors that depend on the input and are still to be read: an array for each chunk.
        results: likewise of the graph's outputs.
    """

    def __init__(self, model: onnx.ModelProto, name: str, chunks: Sequence[Array]) -> None:
        """Begin.

        Args:
            model: its nodes are in an order in which they can run.
            name: of its input.
            chunks: images, a few at a time, or one where the model takes one.
        """
        from onnx import numpy_helper

        self.model = model
        self.values: dict[str, list[Array]] = {name: list(chunks)}
        self.results: dict[str, list[Array]] = {}
        self._outputs = {value.name for value in model.graph.output}
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants: dict[str, Array] = {
            name: numpy_helper.to_array(tensor) for name, tensor in self._stored.items()
        }
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, int] = {}
        for node in model.graph.node:
            for each in set(graphs.reads(node)):
                self._readers[each] = self._readers.get(each, 0) + 1

    def __iter__(self) -> Iterator[onnx.NodeProto]:
        """Give each node that depends on the input, just before it is run."""
        for node in self.model.graph.node:
            reads = {name for name in graphs.reads(node) if name}
            if not any(name in self.values for name in reads):
                continue  # it makes a constant, and is run where that is read
            yield node
            made = self._run(
                node, sorted(reads & (self.values.keys() | self._constants.keys() | self._makers.keys()))
            )
            for name in reads:
                self._readers[name] -= 1
                if self._readers[name] == 0:
                    self.values.pop(name, None)
            self.values |= {name: made[name] for name in made if name in self._readers}
            self.results |= {name: made[name] for name in made if name in self._outputs}

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, or None."""
        return self._makers.get(name)

    def constant(self, name: str) -> Array:
        """A tensor that does not depend on the input."""
        if name not in self._constants:
            maker = self._makers[name]
            model = _alone(self.model, maker, {each: self.constant(each) for each in maker.input if each})
            feeds = {each: self.constant(each) for each in maker.input if each}
            self._constants |= zip(
                maker.output, graphs.session(model, optimise=False).run(None, feeds), strict=True
            )
        return self._constants[name]

    def is_own(self, name: str) -> bool:
        """Whether a tensor is a stored constant that one node alone reads."""
        return name in self._stored and self._readers[name] == 1

    def replace(self, name: str, value: Array) -> None:
        """Give a stored constant another value, in the graph as well.

        Nothing that was made of it may have been run yet.
        """
        from onnx import numpy_helper

        self._constants[name] = value
        self._stored[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))

    def _run(self, node: onnx.NodeProto, reads: list[str]) -> dict[str, list[Array]]:
        varying = [name for name in reads if name in self.values]
        fixed = {name: self.constant(name) for name in reads if name not in self.values}
        first = {name: self.values[name][0] for name in varying}
        session = graphs.session(_alone(self.model, node, first | fixed), optimise=False)
        outputs = [name for name in node.output if name]
        made: dict[str, list[Array]] = {name: [] for name in outputs}
        for index in range(len(self.values[varying[0]])):
            feeds = {name: self.values[name][index] for name in varying} | fixed
            for name, value in zip(outputs, session.run(outputs, feeds), strict=True):
                made[name].append(value)
        return made


def _alone(model: onnx.ModelProto, node: onnx.NodeProto, example: dict[str, Array]) -> onnx.ModelProto:
    """A model of one node, whose inputs have the types and ranks of an example."""
    import onnx
    from onnx import helper

    alone = onnx.ModelProto(ir_version=model.ir_version)
    alone.opset_import.extend(model.opset_import)
    alone.functions.extend(model.functions)
    alone.graph.name = "node"
    alone.graph.node.append(node)
    alone.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
        for name, value in example.items()
    )
    alone.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    return onnx.shape_inference.infer_shapes(alone)
