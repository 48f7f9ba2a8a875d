"""LiteRT on a file that litert-torch wrote; `support.two_heads` has what it was made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import BundleError
from pinnace.models.runtimes.base import RuntimeOptions
from support.errors import refusal
from support.two_heads import FILES, SHAPE, SIGNATURE, TwoHeads

pytest.importorskip("ai_edge_litert")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_is_answered_image_by_image(threads: int) -> None:
    from pinnace.models.runtimes.litert import LiteRt

    torch.manual_seed(0)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        wanted = dict(zip(SIGNATURE.output_names, TwoHeads()(images), strict=True))
    with LiteRt(FILES["litert"], SIGNATURE, RuntimeOptions(threads=threads)) as runtime:
        found = runtime.run({"image": images.numpy()})
        later = runtime.run({"image": images[2:].numpy()})
    for name, answer in wanted.items():
        np.testing.assert_allclose(found[name], answer.numpy(), atol=1e-5)
        np.testing.assert_array_equal(later[name], found[name][2:])


def test_files_that_are_not_what_the_manifest_says_are_refused(tmp_path: Path) -> None:
    from pinnace.models.runtimes.litert import LiteRt

    path = tmp_path / "net.tflite"
    path.write_bytes(b"not a graph at all")
    message = refusal(BundleError, LiteRt, path, SIGNATURE, RuntimeOptions())
    assert message.startswith(f"LiteRT cannot load {path}: ")
    assert len(message.splitlines()) == 1
    path.write_bytes(FILES["litert"].read_bytes())
    more = dataclasses.replace(SIGNATURE, outputs=(*SIGNATURE.outputs, TensorSpec("more", "float32", (1,))))
    assert refusal(BundleError, LiteRt, path, more, RuntimeOptions()) == (
        f"LiteRT cannot load {path}: it has 2 outputs and not 3"
    )
