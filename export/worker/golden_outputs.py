"""The outputs that every variant is compared with, and the signature that they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle import golden
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.errors import CheckFailed, SourceError

# A model's answer to some inputs, all by name; raises SourceError where the model does not run on them.
ModelFunction: TypeAlias = Callable[[Arrays], Arrays]

# Inputs for given sizes of the dynamic dimensions.
Feeds: TypeAlias = Callable[[Mapping[str, int]], Arrays]

# A dynamic dimension other than the batch has the first of these sizes in the golden data, and is tried with
# both.
SIZES = (32, 48)

# Golden outputs of more bytes than this are kept for fewer samples.
_LARGEST = 64 << 20
_FEWEST = 3


def signature_of(
    run: ModelFunction, inputs: tuple[TensorSpec, ...], feeds: Feeds, *, images: bool
) -> Signature:
    """Run the model a few times and see which dimensions of its outputs follow which of its inputs.

    Args:
        run: the model.
        inputs: its inputs.
        feeds: gives inputs.
        images: it takes one image a sample, and so has to give one row a sample.

    Raises:
        SourceError: the model does not run, or does not give one row for each image.
    """
    names = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}
    sizes = {name: 1 if name == BATCH else SIZES[0] for name in names}
    one = run(feeds(sizes))
    dims: dict[str, list[int | str]] = {name: list(array.shape) for name, array in one.items()}
    if images:
        _require_rows(one, sizes.get(BATCH, inputs[0].shape[0]))
    for name in sorted(names):
        other = sizes | {name: 2 if name == BATCH else SIZES[1]}
        try:
            two = run(feeds(other))
        except SourceError as error:
            if not (images and name == BATCH):
                raise
            hint = "a model has to take any number of images at once"
            raise SourceError(error.message, hint=hint) from error
        if images and name == BATCH:
            _require_rows(two, 2, like=one)
        for output, array in one.items():
            _compare(name, output, array.shape, two[output].shape, other[name], dims[output])
    outputs = tuple(TensorSpec(name, str(array.dtype), tuple(dims[name])) for name, array in one.items())
    return Signature(inputs, outputs)


def _require_rows(answers: Arrays, count: int | str, like: Arrays | None = None) -> None:
    for name, array in answers.items():
        if array.shape[:1] != (count,) or (like is not None and array.ndim != like[name].ndim):
            raise SourceError(
                f"the model's output {name} is not one row for each image",
                expected="[1, ...] for one image"
                if count == 1
                else f"[{count}, ...] for {_word(count)} images",
                got=str(list(array.shape)),
                hint="the answer has to keep its first dimension, the batch: no squeeze() or [0] at the end",
            )


def _word(count: int | str) -> str:
    return "two" if count == 2 else str(count)


def _compare(
    name: str, output: str, one: tuple[int, ...], two: tuple[int, ...], size: int, dims: list[int | str]
) -> None:
    """Name the dimensions of an output that changed when one dynamic dimension of the inputs did."""
    if len(one) != len(two):
        raise SourceError(
            f"the model's output {output} has another number of dimensions when {name} changes",
            got=f"{list(one)} and {list(two)}",
        )
    for axis, (before, after) in enumerate(zip(one, two, strict=True)):
        if before != after:
            dims[axis] = name if after == size and dims[axis] == before else f"{output}_{axis}"


def samples_for(signature: Signature, most: int) -> int:
    """How many golden samples are kept, so that large outputs do not make a large file."""
    sizes = [np.dtype(spec.dtype).itemsize * int(np.prod(spec.with_batch(1))) for spec in signature.outputs]
    return max(min(_FEWEST, most), min(most, _LARGEST // max(1, sum(sizes))))


def golden_outputs(
    run: ModelFunction, signature: Signature, inputs: Arrays, *, exported: bool = False
) -> Arrays:
    """The model's outputs for golden inputs, one sample at a time.

    Args:
        run: the model.
        signature: its inputs and outputs.
        inputs: golden inputs.
        exported: it comes from an exported file.

    Raises:
        SourceError: an output has another shape for other samples, or no elements.
        CheckFailed: an answer is NaN or infinite, or differs when the same input is given again.
    """
    answers = []
    for _, feeds in golden.calls(signature, inputs, (1,)):
        answers.append(golden.rows(signature, run(feeds)))
        if len(answers) == 1:
            _require_same(answers[0], golden.rows(signature, run(feeds)), exported=exported)
    samples = len(next(iter(inputs.values())))
    outputs: Arrays = {}
    for spec in signature.outputs:
        parts = [answer[spec.name] for answer in answers]
        shapes = sorted({part.shape for part in parts})
        if len(shapes) > 1:
            raise SourceError(
                f"the model's output {spec.name} is not one row for each image"
                if signature.batch is not None
                else f"the model's output {spec.name} has another shape for other inputs",
                expected="[1, ...] for one image" if signature.batch is not None else "always the same",
                got=" and ".join(str(list(shape)) for shape in shapes[:2]),
            )
        outputs[spec.name] = np.concatenate(parts)[:samples]
        _require_finite(spec.name, outputs[spec.name], exported=exported)
    return outputs


def _require_same(first: Arrays, again: Arrays, *, exported: bool) -> None:
    for name, array in first.items():
        if not np.array_equal(array, again[name], equal_nan=array.dtype.kind == "f"):
            raise CheckFailed(
                "the model gives another answer each time for the same input, so no export can be proved"
                + (": it was exported in training mode, or draws random numbers" if exported else ""),
                hint="call model.eval() before the model is exported, and export it again"
                if exported
                else "switch off what is random in it (dropout that ignores eval mode, noise)",
            )


def _require_finite(name: str, output: npt.NDArray[np.generic], *, exported: bool) -> None:
    if not output.size:
        raise SourceError(f"the model's output {name} has no elements", got=str(list(output.shape[1:])))
    if output.dtype.kind == "f" and not bool(np.isfinite(output).all()):
        whose = "the exported file" if exported else "the eager model"
        raise CheckFailed(f"{whose} answers with NaN or infinity in {name}")
