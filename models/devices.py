"""Where a runtime can be told to run, in the words of options and settings."""

from __future__ import annotations

from typing import Literal, get_args

# `cuda` is an NVIDIA GPU through CUDA; `gpu` and `npu` are what OpenVINO's plugins and ONNX Runtime's
# providers call so; `auto` leaves the choice to OpenVINO.
Device = Literal["cpu", "cuda", "gpu", "npu", "auto"]
DEVICES: tuple[str, ...] = get_args(Device)
