"""The golden data file: inputs, and the eager model's outputs for them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.errors import BundleError

FILE = "golden/golden.npz"

# What a file that says little of its size may at most unpack to.
_LARGEST = 4 << 30
_NUMBERS = "biufc"

Arrays = dict[str, npt.NDArray[np.generic]]

T = TypeVar("T")


class Shaped(NamedTuple):
    """What an array says of itself before its numbers."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


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
        BundleError: they cannot be read, or would be more than 4 GiB.
    """

    def arrays(archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.generic]:
        with archive.open(name) as member:
            array: npt.NDArray[np.generic] = np.lib.format.read_array(member, allow_pickle=False)
        return array

    return _of_each(data, path, arrays)


def parse_shapes(data: bytes, path: Path) -> tuple[dict[str, Shaped], dict[str, Shaped]]:
    """The dtypes and shapes of the inputs and the outputs; their numbers are not unpacked.

    Args:
        data: the file's content.
        path: what messages call it.

    Raises:
        BundleError: they cannot be read, or would be more than 4 GiB.
    """
    return _of_each(data, path, _shaped)


def _shaped(archive: zipfile.ZipFile, name: str) -> Shaped:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(member)
    return Shaped(dtype, shape)


def _of_each(
    data: bytes, path: Path, read: Callable[[zipfile.ZipFile, str], T]
) -> tuple[dict[str, T], dict[str, T]]:
    found: dict[str, dict[str, T]] = {"input": {}, "output": {}}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > _LARGEST:
                raise ValueError(f"they would be {size:,} bytes")
            for name in archive.namelist():
                key = name.removesuffix(".npy")
                kind, _, tensor = key.partition(":")
                if kind not in found:
                    raise ValueError(f"{key} is neither an input nor an output")
                found[kind][tensor] = read(archive, name)
    except Exception as error:  # damaged bytes raise whatever zipfile, zlib and NumPy stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BundleError(
            f"the golden data {path} cannot be read: {reason}", hint="export the model again"
        ) from None
    return found["input"], found["output"]


def check_shapes(
    signature: Signature,
    inputs: Mapping[str, Shaped],
    outputs: Mapping[str, Shaped],
    samples: int,
    path: Path,
) -> None:
    """Refuse golden data that are not of the model's tensors; see `check`."""
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
            if not _is_of(array, spec, samples, one_by_one=signature.batch is None):
                raise BundleError(
                    f"{what} has another dtype or shape",
                    expected=f"{samples} samples of {spec}",
                    got=f"{array.dtype}[{','.join(map(str, array.shape))}]",
                    hint="export the model again",
                )


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
    stated, answered = (
        {name: Shaped(array.dtype, array.shape) for name, array in arrays.items()}
        for arrays in (inputs, outputs)
    )
    check_shapes(signature, stated, answered, samples, path)
    for arrays, kind in ((inputs, "input"), (outputs, "output")):
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise BundleError(
                    f"the golden data {path}: {kind} {name} holds NaN or infinity",
                    hint="export the model again",
                )


def _is_of(array: Shaped, spec: TensorSpec, samples: int, *, one_by_one: bool) -> bool:
    """Whether an array holds samples of a tensor; where no batch is seen, they stand behind one another."""
    one = spec.shape if one_by_one else spec.shape[1:]
    fits = len(array.shape) == len(one) + 1 and all(
        isinstance(want, str) or want == have for want, have in zip(one, array.shape[1:], strict=True)
    )
    dtype = array.dtype.kind in _NUMBERS and str(array.dtype) == spec.dtype
    return fits and dtype and array.shape[0] == samples and math.prod(array.shape) > 0


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
