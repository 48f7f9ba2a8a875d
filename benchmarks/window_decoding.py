"""What it brings to decode only the window of a JPEG that the crop needs: with and without, in turns.

    python benchmarks/window_decoding.py efficientnet_lite0.bundle *.jpg --runtime openvino-bf16

The whole path from the bytes to the named classes, in one thread and in this process. It prints the medians
of the milliseconds of both, and the median of the ratios within a turn with its 10th and 90th percentile.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.image import jpeg
from pinnace.models.image.decode import open_image
from pinnace.models.runtimes.base import RuntimeOptions

CALLS = 3


def main() -> None:
    """Print a line for each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--variant")
    parser.add_argument("--runtime")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each image")
    chosen = parser.parse_args()
    if not jpeg.AVAILABLE:
        parser.error("the compiled module was built without the headers of libjpeg-turbo, or not at all")
    options = RuntimeOptions(threads=1)
    with Classifier(Bundle.open(chosen.bundle), chosen.variant, chosen.runtime, options) as classifier:
        classifier.warm_up()
        print(f"{classifier.variant.name} in {classifier.runtime.name}, {classifier.preprocess}")
        for path in chosen.images:
            measure(classifier, path, chosen.seconds)


def measure(classifier: Classifier, path: Path, seconds: float) -> None:
    """One image for so many seconds."""
    data = path.read_bytes()
    whole, window = (classifier.prepare(open_image(data, whole=which)) for which in (True, False))
    np.testing.assert_array_equal(whole, window)
    answers: dict[bool, list[float]] = {True: [], False: []}
    inputs: dict[bool, list[float]] = {True: [], False: []}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for which in (True, False):
            answers[which].append(timed(lambda which=which: answer(classifier, data, which)))
            inputs[which].append(timed(lambda which=which: prepare(classifier, data, which)))
    for what, times in (("answer", answers), ("input", inputs)):
        ratios = [b / a for a, b in zip(times[True], times[False], strict=True)]
        tenths = statistics.quantiles(ratios, n=10)
        print(
            f"{path.name} ({len(data):,} bytes), {what}: {statistics.median(times[True]):.2f} ms, "
            f"of the window {statistics.median(times[False]):.2f} ms; {statistics.median(ratios):.3f} "
            f"({tenths[0]:.2f} to {tenths[-1]:.2f})"
        )


def prepare(classifier: Classifier, data: bytes, whole: bool) -> np.ndarray:
    """From the bytes to the model's input."""
    return classifier.prepare(open_image(data, whole=whole))


def answer(classifier: Classifier, data: bytes, whole: bool) -> object:
    """From the bytes to the named classes."""
    return classifier.predictions(classifier.infer(prepare(classifier, data, whole))[0], 5)


def timed(work: object) -> float:
    """Milliseconds of one call of several."""
    assert callable(work)
    started = time.perf_counter()
    for _ in range(CALLS):
        work()
    return 1000 * (time.perf_counter() - started) / CALLS


if __name__ == "__main__":
    main()
