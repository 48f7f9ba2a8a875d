"""The golden data file: inputs, and the eager model's outputs for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

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
