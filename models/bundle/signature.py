"""Names, dtypes and shapes of a model's inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

BATCH = "batch"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: the tensor's name in every variant of the bundle.
        dtype: a NumPy dtype name, such as `float32`.
        shape: one entry per dimension; a dynamic dimension is a string, such as `"batch"`.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}={self.dtype}[{','.join(map(str, self.shape))}]"

    def with_batch(self, batch: int) -> tuple[int, ...]:
        """The concrete shape for one batch size; any other dynamic dimension becomes 1."""
        return tuple(dim if isinstance(dim, int) else batch if dim == BATCH else 1 for dim in self.shape)


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batch(self) -> int | str | None:
        """How many samples one call takes: `BATCH` for any number, an int, or None where no batch is seen.

        A batch is seen where every input and output has the same first dimension.
        """
        firsts = {spec.shape[:1] for spec in (*self.inputs, *self.outputs)}
        if len(firsts) != 1 or not (first := firsts.pop()):
            return None
        return first[0] if first[0] == BATCH or isinstance(first[0], int) else None

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(spec.name for spec in self.outputs)
