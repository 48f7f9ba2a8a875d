"""TensorRT RTX: the API of TensorRT; its builder needs no GPU, and its engines compile where they run."""

from __future__ import annotations

from pinnace.models.runtimes.tensorrt import TensorRt


class TensorRtRtx(TensorRt):
    """Runs engines that `pinnace build --runtime tensorrt_rtx` made, here or on a machine without a GPU."""

    name = "tensorrt_rtx"
    formats = ("tensorrt_rtx",)
    module = "tensorrt_rtx"
    extra = "rtx"
    rank = 31
    builds_without_gpu = True
    keeps_timings = False


RUNTIME = TensorRtRtx
