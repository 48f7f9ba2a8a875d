"""Whether another preprocessing than the one that was taken gives clearly more right answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.export.assumptions import options_for
from pinnace.export.image_folder import LabelledImage, folder_labels, read_image_folder
from pinnace.export.request import ExportRequest, ResizeTrial
from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.errors import ImageError, PinnaceError, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import PIXELS, UNIT, ColorMode, Preprocess

MOST_IMAGES = 48

# Edges that networks are trained at; those that are far larger than the one that was taken are left out.
_EDGES = (28, 32, 64, 96, 128, 160, 192, 224, 240, 256, 288, 320, 384)
_LARGER = 1.5
_MARGIN = 0.875
_BATCH = 8

# So many points more are clear, where they are also twice what chance would give.
_CLEAR = 0.1

Right = npt.NDArray[np.bool_]

# For each image, by how much its own class lies above the best other one, of the range of all classes.
Margins = npt.NDArray[np.float64]


def try_others(
    run: ModelFunction,
    signature: Signature,
    preprocess: Preprocess,
    labelled: Sequence[LabelledImage],
    *,
    fixed: bool,
) -> ResizeTrial | None:
    """Count right answers with the preprocessing that was taken, and with others.

    First the sizes are tried, then squeezing and a margin at the best of them, then other means.

    Args:
        run: the model.
        signature: its inputs and outputs.
        preprocess: what was taken.
        labelled: images and their classes; a few of them, evenly chosen, are tried.
        fixed: the model takes images of this size only.

    Returns:
        None where the model has no one output to ask, or no image can be read.
    """
    name = _answer(signature)
    images, targets = _opened(labelled)
    if name is None or not images:
        return None

    def asked(candidate: Preprocess) -> Margins | None:
        try:
            return _margins(run, signature, name, candidate, images, targets)
        except PinnaceError:
            return None  # a size that the network does not take

    taken = asked(preprocess)
    if taken is None:
        return None
    best, most = preprocess, taken
    for stage in (_sizes, _shapes, _means):
        for candidate in stage(best, preprocess, images, fixed):
            found = asked(candidate)
            if found is not None and _rank(found) > _rank(most):
                best, most = candidate, found
    return _judged(preprocess, taken > 0, best, most > 0)


def trial(
    request: ExportRequest,
    run: ModelFunction,
    signature: Signature,
    preprocess: Preprocess | None,
    labels: Sequence[str] | None,
    *,
    fixed: bool = False,
) -> ResizeTrial | None:
    """Try other preprocessings on the images of a request; None where it has none that fit the model.

    Args:
        request: what is asked for.
        run: the model.
        signature: its inputs and outputs.
        preprocess: what was taken; None for a model that takes no image.
        labels: the class names that come with the source, if any.
        fixed: the model takes images of this size only.
    """
    name = _answer(signature)
    if request.images is None or preprocess is None or name is None:
        return None
    folder = Path(request.images)
    classes = next(_classes(spec) for spec in signature.outputs if spec.name == name)
    names = request.labels or tuple(labels or ())
    if len(names) != classes:
        names = folder_labels(folder, classes) or tuple(map(str, range(classes)))
    try:
        labelled = read_image_folder(folder, names)
    except UsageError:
        return None  # they are not labelled; whether that matters is for others to say
    return try_others(run, signature, preprocess, labelled, fixed=fixed)


def _judged(preprocess: Preprocess, taken: Right, best: Preprocess, most: Right) -> ResizeTrial:
    count, gain = len(taken), int(most.sum()) - int(taken.sum())
    # Of images on which the two differ, chance gives half to each: McNemar's test, at two deviations.
    chance = 2 * float(np.sqrt((taken != most).sum()))
    if gain < _CLEAR * count or gain <= chance:
        return ResizeTrial(count, int(taken.sum()))
    return ResizeTrial(count, int(taken.sum()), options_for(best, preprocess), int(most.sum()))


def _sizes(
    best: Preprocess, taken: Preprocess, images: Sequence[Image.Image], fixed: bool
) -> Iterator[Preprocess]:
    size = taken.crop or taken.resize
    assert isinstance(size, tuple)
    if fixed:
        yield _whole(taken, size)
        return
    own = {image.size for image in images}
    native = {min(next(iter(own)))} if len(own) == 1 else set()
    for edge in sorted({*_EDGES, *size, *native}):
        if edge <= _LARGER * max(size):
            yield _whole(taken, (edge, edge))


def _shapes(
    best: Preprocess, taken: Preprocess, images: Sequence[Image.Image], fixed: bool
) -> Iterator[Preprocess]:
    size = best.crop or best.resize
    assert isinstance(size, tuple)
    yield replace(best, resize=size, crop=None, aspect="squeeze")
    yield replace(best, resize=round(max(size) / _MARGIN), crop=size, aspect="squeeze")
    yield _whole(best, size)


def _means(
    best: Preprocess, taken: Preprocess, images: Sequence[Image.Image], fixed: bool
) -> Iterator[Preprocess]:
    if best.dtype in (*PIXELS, "int8"):
        return  # the graph says what they stand for
    zeros, halves, ones = ((value,) * best.channels for value in (0.0, 0.5, 1.0))
    for scale, mean, std in ((UNIT, zeros, ones), (UNIT, halves, halves), (1.0, zeros, ones)):
        yield replace(best, scale=scale, mean=mean, std=std)
    if best.channels == 3:
        yield replace(best, scale=UNIT, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), color="RGB")
        turned: ColorMode = "BGR" if best.color == "RGB" else "RGB"
        yield replace(best, color=turned, mean=best.mean[::-1], std=best.std[::-1])


def _whole(preprocess: Preprocess, size: tuple[int, int]) -> Preprocess:
    """The largest centre of the image that has the shape of the input."""
    return replace(preprocess, resize=max(size), crop=size, aspect="squeeze")


def _answer(signature: Signature) -> str | None:
    """The output that has a number for each class, where one can be told."""
    rows = [spec for spec in signature.outputs if _classes(spec) > 1]
    if len(rows) == 1:
        return rows[0].name
    return next((spec.name for spec in rows if spec.name == "logits"), None)


def _classes(spec: TensorSpec) -> int:
    sizes = [dim for dim in spec.shape[1:] if dim != 1]
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], int) else 0


def _opened(labelled: Sequence[LabelledImage]) -> tuple[list[Image.Image], npt.NDArray[np.int64]]:
    count = min(MOST_IMAGES, len(labelled))
    images, targets = [], []
    for index in range(count):
        one = labelled[index * len(labelled) // count]
        try:
            images.append(open_image(one.file))
        except ImageError:
            continue
        targets.append(one.target)
    return images, np.array(targets, np.int64)


def _margins(
    run: ModelFunction,
    signature: Signature,
    name: str,
    preprocess: Preprocess,
    images: Sequence[Image.Image],
    targets: npt.NDArray[np.int64],
) -> Margins:
    (given,) = signature.inputs
    inputs = np.stack([preprocess.apply(image) for image in images])
    size = _BATCH if signature.batch == BATCH else int(signature.batch or 1)
    order = np.arange(-(-len(inputs) // size) * size) % len(inputs)
    rows = []
    for start in range(0, len(order), size):
        answer = run({given.name: inputs[order[start : start + size]]})[name]
        rows.append(answer.reshape(size, -1))
    scores = np.asarray(np.concatenate(rows)[: len(inputs)], np.float64)
    own = scores[np.arange(len(scores)), targets]
    others = scores.copy()
    others[np.arange(len(scores)), targets] = -np.inf
    margins: Margins = (own - others.max(axis=1)) / np.maximum(
        np.ptp(scores, axis=1), np.finfo(np.float64).tiny
    )
    return margins


def _rank(margins: Margins) -> tuple[int, float]:
    """How many are right; among as many, how clearly."""
    return int((margins > 0).sum()), float(margins.mean())
