"""The golden data file: inputs, and the eager model's outputs for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle.signature import BATCH, Signature

FILE = "golden/golden.npz"

Arrays = dict[str, npt.NDArray[np.generic]]


def write(path: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write the arrays, compressed; the same arrays give the same bytes.

    Args:
        path: the file, an `.npz`.
        inputs: by tensor name; first dimension the sample.
        outputs: the eager model's, by tensor name; first dimension the sample.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays |= {f"output:{name}": array for name, array in outputs.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> tuple[Arrays, Arrays]:
    """The inputs and the outputs that `write` wrote. Nothing is unpickled."""
    inputs: Arrays = {}
    outputs: Arrays = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, _, name = key.partition(":")
            (inputs if kind == "input" else outputs)[name] = arrays[key]
    return inputs, outputs


def calls(
    signature: Signature, inputs: Mapping[str, npt.NDArray[np.generic]], batches: Sequence[int]
) -> Iterator[tuple[npt.NDArray[np.intp], Arrays]]:
    """Every golden sample in every batch size: which samples a call takes, and what to feed.

    Samples are repeated where a batch is larger than their number. A model that takes batches of one fixed
    size is called with that; one that knows no batch is called with one sample at a time, whose inputs stand
    in the golden data behind one another.
    """
    samples = len(next(iter(inputs.values())))
    if signature.batch is None:
        for index in range(samples):
            yield np.array([index]), {name: np.asarray(array[index]) for name, array in inputs.items()}
        return
    for batch in batches if signature.batch == BATCH else (int(signature.batch),):
        count = -(-samples // batch) * batch
        order = np.arange(count) % samples
        for start in range(0, count, batch):
            chosen = order[start : start + batch]
            yield chosen, {name: array[chosen] for name, array in inputs.items()}


def rows(signature: Signature, outputs: Arrays) -> Arrays:
    """A call's outputs with one row for each of its samples."""
    return outputs if signature.batch is not None else {name: array[None] for name, array in outputs.items()}
