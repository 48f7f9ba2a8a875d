"""What `--input` says: the inputs of a model that takes something else than one image."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import UsageError

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")

_FORM = re.compile(r"([A-Za-z_]\w*)=(\w+)\[([^\[\]]*)\]")
_DIM = re.compile(r"[1-9]\d*|[A-Za-z_]\w*")


def parse_inputs(texts: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Read `name=dtype[dim,...]` texts; a dimension is a number, or the name of a dynamic one.

    Raises:
        UsageError: a text has another form, or a name comes twice.
    """
    specs: list[TensorSpec] = []
    for text in texts:
        match = _FORM.fullmatch(text.replace(" ", ""))
        dims = match[3].split(",") if match and match[3] else []
        if match is None or not all(_DIM.fullmatch(dim) for dim in dims):
            raise UsageError(
                f"--input {text!r} is not an input",
                expected="name=dtype[dimensions], such as image=float32[batch,3,224,224]",
            )
        name, dtype, _ = match.groups()
        if dtype not in DTYPES:
            raise UsageError(
                f"--input {text!r} has an unknown dtype", expected="one of " + ", ".join(DTYPES), got=dtype
            )
        if name in [spec.name for spec in specs]:
            raise UsageError(f"--input {name} is given twice")
        specs.append(TensorSpec(name, dtype, tuple(int(dim) if dim.isdecimal() else dim for dim in dims)))
    return tuple(specs)
