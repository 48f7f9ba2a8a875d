"""Accuracy on labelled images: top-1 and top-5, each with an interval that says how sure the number is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pinnace.export.image_folder import LabelledImage, order_note, read_image_folder
from pinnace.export.request import ExportedFiles
from pinnace.export.validation import photographs
from pinnace.export.validation.validator import open_reference, options, save_failing_samples
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, CheckFailed, ImageError, MissingDependency, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.predictions import DEFAULT_TOP_K
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.runtimes import open_variant, readers_for, runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions
from pinnace.models.variant_name import VariantName

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054

Key = TypeVar("Key")


@dataclass(frozen=True)
class Accuracy:
    """How often the right class came first, and among the first five.

    Attributes:
        images: how many images.
        top1: share whose most probable class is the right one, 0 to 1.
        top5: share whose right class is among the five most probable, or among all where there are fewer.
        top1_interval: Wilson's 95 % interval of `top1`.
        top5_interval: the same of `top5`.
    """

    images: int
    top1: float
    top5: float
    top1_interval: tuple[float, float]
    top5_interval: tuple[float, float]


@dataclass
class Count:
    """Counts right answers."""

    images: int = 0
    first: int = 0
    among: int = 0

    def add(self, logits: npt.NDArray[np.generic], targets: Sequence[int]) -> None:
        """Count some images; `logits` has shape (images, classes). Ties go to the lower index."""
        k = min(DEFAULT_TOP_K, logits.shape[1])
        best = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")[:, :k]
        hits = best == np.asarray(targets)[:, None]
        self.images += len(targets)
        self.first += int(hits[:, 0].sum())
        self.among += int(hits.any(axis=1).sum())

    def accuracy(self) -> Accuracy:
        """What was counted, as shares."""
        return Accuracy(
            self.images,
            self.first / self.images,
            self.among / self.images,
            wilson(self.first, self.images),
            wilson(self.among, self.images),
        )


@dataclass(frozen=True)
class Evaluation(Generic[Key]):
    """What came of a tree of images.

    Attributes:
        accuracies: by whatever the runtimes were named with.
        problems: a sentence for each image that could not be read.
    """

    accuracies: dict[Key, Accuracy]
    problems: tuple[str, ...] = field(default=())


def wilson(right: int, images: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share, at 95 %.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), with p = right / images and n = images.
    """
    p, n = right / images, images
    centre = p + _Z**2 / (2 * n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    lower, upper = (centre - half) / scale, (centre + half) / scale
    return (lower if right else 0.0), (upper if right < images else 1.0)


def evaluate(
    runtimes: Mapping[Key, Runtime],
    images: Sequence[LabelledImage],
    preprocess: Preprocess,
    progress: Progress = ignore,
) -> Evaluation[Key]:
    """Run every image in every runtime. Each image is decoded once; those that cannot be are skipped.

    Args:
        runtimes: open runtimes of a classifier with one input, by a name of the caller's.
        images: the images and their classes.
        preprocess: makes the input of an image.
        progress: told how many images are done.

    Raises:
        UsageError: none of the images can be read.
    """
    counts = {name: Count() for name in runtimes}
    problems: list[str] = []
    done = 0
    for chunk in _chunks(images):
        inputs, targets = [], []
        for image in chunk:
            try:
                inputs.append(preprocess.apply(open_image(image.file)))
                targets.append(image.target)
            except ImageError as error:
                problems.append(f"{image.file} was skipped: {error.message}")
        if inputs:
            batch = np.stack(inputs)
            for name, runtime in runtimes.items():
                answers = photographs.run(runtime, {runtime.signature.inputs[0].name: batch})
                counts[name].add(answers[runtime.signature.outputs[0].name], targets)
        done += len(chunk)
        progress(Event(Stage.EVALUATE, done=done, total=len(images)))
    if len(problems) == len(images):
        raise UsageError("none of the images can be read", got=problems[0] if problems else "no images")
    return Evaluation({name: count.accuracy() for name, count in counts.items()}, tuple(problems))


@dataclass(frozen=True)
class VariantAccuracy:
    """The accuracy of one variant in one runtime."""

    variant: str
    runtime: str
    accuracy: Accuracy


def evaluate_bundle(
    bundle: Bundle,
    images: Path,
    *,
    variants: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    options: RuntimeOptions | None = None,
    progress: Progress = ignore,
) -> tuple[list[VariantAccuracy], tuple[str, ...]]:
    """Count right answers of every variant in every runtime that works here.

    Args:
        bundle: an image classifier.
        images: a tree of images, one folder for each class.
        variants: only these.
        runtimes: only these; one that has to be asked for by name takes part only here.
        options: threads and device.
        progress: told how many images are done.

    Returns:
        The rows, and sentences on the order of the folders and on what was skipped.

    Raises:
        UsageError: the model is no image classifier, the tree does not fit it, or nothing is left to run.
        MissingDependency: no runtime here can run what was asked for.
    """
    if not bundle.labels:
        raise UsageError(f"{bundle.name} has no labels, so its accuracy cannot be measured")
    preprocess = bundle.preprocess
    found = read_image_folder(images, bundle.labels)
    chosen = [bundle.variant(name) for name in variants] or bundle.manifest.variants
    opened: dict[tuple[str, str], Runtime] = {}
    order = order_note(images, bundle.labels)
    passed_over = []
    with contextlib.ExitStack() as stack:
        for variant in chosen:
            readers = [r for name in runtimes or (None,) for r in readers_for(variant.format, name)]
            for reader in readers:
                problem = reader.unavailable_reason()
                try:
                    if problem is None:
                        reader.check_variant(bundle, variant)
                except BundleError as error:
                    problem = error.message
                if problem is not None:
                    passed_over.append(f"{variant.name} in {reader.name} was skipped: {problem}")
                    continue
                runtime = open_variant(bundle, variant, reader.name, options)
                opened[variant.name, reader.name] = stack.enter_context(runtime)
        if not opened:
            raise (MissingDependency if passed_over else UsageError)(
                f"nothing in {bundle.folder} can be run here",
                got="; ".join(passed_over) or ", ".join(runtimes),
            )
        result = evaluate(opened, found, preprocess, progress)
    rows = [
        VariantAccuracy(variant, runtime, accuracy)
        for (variant, runtime), accuracy in result.accuracies.items()
    ]
    return rows, (*([order] if order else ()), *passed_over, *result.problems)


def check_accuracy(
    folder: Path,
    exported: ExportedFiles,
    labels: Sequence[str],
    names: Sequence[VariantName],
    images: Path,
    most: float,
    progress: Progress,
) -> None:
    """Refuse a variant of an export whose top-1 on labelled images lies too far below that of fp32.

    Args:
        folder: where the variants' files are.
        exported: what was written.
        labels: one class name per output.
        names: of the variants.
        images: a tree of images, one folder for each class.
        most: how many points (hundredths) a variant may lose.
        progress: told before each step.

    Raises:
        UsageError: the model is no image classifier, or the tree does not fit it.
        CheckFailed: a variant loses more.
    """
    if not labels or exported.preprocess is None:
        raise UsageError("--max-drop needs an image classifier")
    found = read_image_folder(images, labels)
    with contextlib.ExitStack() as stack:
        fp32 = open_reference(folder, exported)
        runtimes: dict[str, Runtime] = {"fp32": stack.enter_context(fp32)}
        for name in names:
            runtime_class = next(
                (r for r in runtimes_for(name.format) if not r.opt_in and r.unavailable_reason() is None),
                None,
            )
            path = folder / exported.files[name]
            if runtime_class is not None and path != fp32.path:
                opened = runtime_class(path, exported.signature, options(name))
                runtimes[str(name)] = stack.enter_context(opened)
        result = evaluate(
            runtimes,
            found,
            exported.preprocess,
            progress,
        )
        for variant, accuracy in result.accuracies.items():
            try:
                check_drop(variant, accuracy, result.accuracies["fp32"], most)
            except CheckFailed:
                progress(Event(Stage.COMPARE, variant, runtimes[variant].name))
                _keep_lost(folder, fp32, runtimes[variant], found, exported.preprocess)
                raise


def _keep_lost(
    folder: Path, fp32: Runtime, other: Runtime, images: Sequence[LabelledImage], preprocess: Preprocess
) -> None:
    """Write down the first image that fp32 is right about and the other is not."""
    (given,), (answered, *_) = fp32.signature.inputs, fp32.signature.outputs
    for image in images:
        try:
            feeds = {given.name: preprocess.apply(open_image(image.file))[None]}
        except ImageError:
            continue
        answers = photographs.run(fp32, feeds)
        right, theirs = (
            rows[answered.name].argmax() == image.target for rows in (answers, photographs.run(other, feeds))
        )
        if right and not theirs:
            save_failing_samples(folder, feeds, answers)
            return


def check_drop(name: str, accuracy: Accuracy, fp32: Accuracy, most: float) -> None:
    """Refuse a variant whose top-1 is more than so many points (hundredths) below that of fp32.

    Raises:
        CheckFailed: it is.
    """
    points = 100 * (fp32.top1 - accuracy.top1)
    if points > most + 1e-9:
        raise CheckFailed(
            f"{name} loses {points:.2f} points of top-1 against fp32 on {accuracy.images} images; "
            "no bundle was written",
            expected=f"at most {most:g} points",
            got=f"{accuracy.top1:.2%}, and {fp32.top1:.2%} in fp32",
            hint="give more --calibrate images, another --calibration-method, or leave the precision out",
        )


def _chunks(images: Sequence[LabelledImage]) -> Iterable[Sequence[LabelledImage]]:
    return (images[start : start + photographs.BATCH] for start in range(0, len(images), photographs.BATCH))
