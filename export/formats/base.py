"""What a format is: a name, a file suffix, and a function that writes the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export.precision.base import Conversion
from pinnace.models.bundle.signature import BATCH, Signature
from pinnace.models.variant_name import VariantName

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Graph:
    """What a format writes: a network, an example of its inputs, and their names.

    Attributes:
        module: the network in eval mode; its forward takes `*inputs` and gives a tensor or a tuple.
        example: one tensor per input, batch 2 where there is a batch.
        signature: names, dtypes and shapes.
        opset: ONNX opset.
        precision: of the variant's name: fp32, ... or a way of compiling.
        tell: told what is being done, for people to read.
    """

    module: torch.nn.Module
    example: tuple[torch.Tensor, ...]
    signature: Signature
    opset: int
    precision: str = "fp32"
    tell: Callable[[str], None] = lambda step: None


@dataclass(frozen=True)
class Written:
    """What is known of a file once it is written.

    Attributes:
        exporter: which of several ways wrote it; None where there is only one.
        notes: sentences for the user.
        tools: the versions of packages that took part and stand in another environment, by name.
    """

    exporter: str | None = None
    notes: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        name: what stands before the dash in a variant's name.
        suffix: of the file.
        precisions: which precisions the network is written in.
        packages: distributions whose versions go into the manifest.
        write: writes the graph to a file; gives what there is to say of that, or None.
        snippet: Python lines that write a variant of an opset without Pinnace, for a script that shows a
            failure; `torch`, `model` and `examples` are there.
        compiled: ways of compiling that may stand where the precision does, and the precision of the result.
        conversions: what is made of the file in fp32, by the precision in the variant's name.
        devices: the device that a precision can only be run on, where it is not any.
        require: asked before anything is loaded; raises `MissingDependency` where what writes the format is
            not here, and gives the interpreter that has it where that may be another.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    write: Callable[[Graph, Path], Written | None]
    snippet: Callable[[VariantName, int], str]
    compiled: Mapping[str, str] = field(default_factory=dict)
    conversions: Mapping[str, Conversion] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    require: Callable[[], str | None] = lambda: None

    @property
    def kinds(self) -> dict[str, str]:
        """Every precision that a variant's name may have, and the one that the variant computes in."""
        written = {precision: precision for precision in self.precisions}
        converted = {kind: conversion.precision for kind, conversion in self.conversions.items()}
        return {**written, **self.compiled, **converted}


def dynamic_shapes(signature: Signature) -> tuple[dict[int, Any], ...]:
    """What `torch.export` is told of each input's dimensions that are not fixed: by axis, a `Dim`."""
    import torch

    return tuple(
        {
            axis: torch.export.Dim(dim, min=1) if dim == BATCH else torch.export.Dim.DYNAMIC
            for axis, dim in enumerate(spec.shape)
            if isinstance(dim, str)
        }
        for spec in signature.inputs
    )
