"""torch's table of ONNX functions, made once for a process."""

from __future__ import annotations

import functools
import importlib
from typing import Any


def remember(*, now: bool = False) -> None:
    """Let every export of this process use one table.

    torch makes a new one for each export, from the source of some hundred functions, which takes most of a
    second. Nothing is entered into it later where an export brings no translations of its own.

    Args:
        now: make it at once.
    """
    try:
        registration = importlib.import_module("torch.onnx._internal.exporter._registration")
        make, usual = registration.ONNXRegistry.from_torchlib, registration._constants.TORCHLIB_OPSET
    except (ImportError, AttributeError):
        return  # another version of torch, which is only slower
    once = functools.cache(lambda opset: make(opset_version=opset))

    def table(opset_version: int = usual) -> Any:
        return once(opset_version)

    registration.ONNXRegistry.from_torchlib = staticmethod(table)
    if now:
        table()
