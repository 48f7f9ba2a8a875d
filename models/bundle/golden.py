"""The golden data file: inputs, and the eager model's outputs for them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.errors import BundleError

FILE = "golden/golden.npz"

# What a file that says little of its size may at most unpack to.
_LARGEST = 4 << 30
_NUMBERS = "biufc"

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
    """The inputs and the outputs that `write` wrote; see `parse`."""
    return parse(path.read_bytes(), path)


def parse(data: bytes, path: Path) -> tuple[Arrays, Arrays]:
    """The inputs and the outputs in what `write` wrote. Nothing is unpickled.

    Args:
        data: the file's content.
        path: what messages call it.

    Raises:
        BundleError: they cannot be read.
    """
    inputs: Arrays = {}
    outputs: Arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise ValueError(f"they would be {size:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for key in arrays.files:
                kind, _, name = key.partition(":")
                if kind not in ("input", "output"):
                    raise ValueError(f"{key} is neither an input nor an output")
                (inputs if kind == "input" else outputs)[name] = arrays[key]
    except Exception as error:  # damaged bytes raise whatever zipfile, zlib and NumPy stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BundleError(
            f"the golden data {path} cannot be read: {reason}", hint="export the model again"
        ) from None
    return inputs, outputs


def check(signature: Signature, inputs: Arrays, outputs: Arrays, samples: int, path: Path) -> None:
    """Refuse golden data that a model cannot be compared with.

    Args:
        signature: the model's inputs and outputs.
        inputs: by tensor name.
        outputs: by tensor name.
        samples: how many there have to be.
        path: what messages call the file.

    Raises:
        BundleError: a tensor is missing, of another dtype or shape, not finite, or none of the model's.
    """
    for specs, arrays, kind in ((signature.inputs, inputs, "input"), (signature.outputs, outputs, "output")):
        for name in arrays.keys() - {spec.name for spec in specs}:
            raise BundleError(
                f"the golden data {path}: the model has no {kind} {name}", hint="export the model again"
            )
        for spec in specs:
            what = f"the golden data {path}: {kind} {spec.name}"
            array = arrays.get(spec.name)
            if array is None:
                raise BundleError(f"{what} is missing", hint="export the model again")
            expected = f"{samples} samples of {spec}"
            if not _is_of(array, spec, samples, one_by_one=signature.batch is None):
                got = f"{array.dtype}[{','.join(map(str, array.shape))}]"
                raise BundleError(
                    f"{what} has another dtype or shape",
                    expected=expected,
                    got=got,
                    hint="export the model again",
                )
            if not np.isfinite(array).all():
                raise BundleError(f"{what} holds NaN or infinity", hint="export the model again")


def _is_of(array: npt.NDArray[np.generic], spec: TensorSpec, samples: int, *, one_by_one: bool) -> bool:
    """Whether an array holds samples of a tensor; where no batch is seen, they stand behind one another."""
    one = spec.shape if one_by_one else spec.shape[1:]
    fits = array.ndim == len(one) + 1 and all(
        isinstance(want, str) or want == have for want, have in zip(one, array.shape[1:], strict=True)
    )
    dtype = array.dtype.kind in _NUMBERS and str(array.dtype) == spec.dtype
    return fits and dtype and len(array) == samples and array.size > 0


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
