"""How far other libraries' resizes lie from Pillow's, on two photographs: the table of docs/preprocessing.md.

Run as `python benchmarks/resizes.py`. It needs scikit-learn for the photographs, torch, and, for its rows,
`pip install opencv-python-headless`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

SIZES = ((640, 427, 224, 224), (448, 416, 224, 208), (640, 427, 1280, 854))
OPENCV = (
    *(("LINEAR", "bilinear"), ("AREA", "bilinear"), ("AREA", "box")),
    *(("CUBIC", "bicubic"), ("NEAREST", "nearest")),
)


def others(pixels: np.ndarray, width: int, height: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """What each of them is called, the Pillow filter that is nearest to it, and its result."""
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    for antialias in (True, False):
        turned = functional.resize(planes, [height, width], antialias=antialias)
        yield f"torchvision on tensors, antialias={antialias}", "bilinear", turned.permute(1, 2, 0).numpy()
    scaled = torch.nn.functional.interpolate(planes[None].float(), (height, width), mode="bilinear")
    yield "half-pixel bilinear in float", "bilinear", scaled[0].permute(1, 2, 0).numpy()
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError:
        return
    for name, nearest in OPENCV:
        flag = getattr(cv2, f"INTER_{name}")
        yield f"OpenCV INTER_{name}", nearest, cv2.resize(pixels, (width, height), interpolation=flag)


def main() -> None:
    """Print a line for each photograph, size and library."""
    for photograph in sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg")):
        whole = Image.open(photograph).convert("RGB")
        for left, top, width, height in SIZES:
            image = whole.crop((0, 0, left, top))
            print(f"{photograph.name}, {left} x {top} to {width} x {height}")
            for name, nearest, result in others(np.asarray(image), width, height):
                ours = image.resize((width, height), Image.Resampling[nearest.upper()])
                difference = np.abs(np.asarray(ours, np.float64) - result)
                print(
                    f"  {name:45} {nearest:9} {(difference > 0).mean():7.1%} differ, "
                    f"by {difference.mean():5.2f} in the mean, {difference.max():5.1f} at most"
                )


if __name__ == "__main__":
    main()
