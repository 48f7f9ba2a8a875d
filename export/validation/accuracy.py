"""Accuracy on labelled images: top-1 and top-5, each with an interval that says how sure the number is."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from pinnace.models.bundle.measurements import Accuracy
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.concurrency import map_in_order
from pinnace.models.cpus import available_cpus
from pinnace.models.errors import (
    BundleError,
    CheckFailed,
    ImageError,
    MissingDependency,
    PinnaceError,
    UsageError,
)
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.predictions import DEFAULT_TOP_K, batch_scores
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.runtimes import readers_for, runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions
from pinnace.models.selection import open_variant
from pinnace.models.uses import require
from pinnace.models.variant_name import VariantName

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054

Key = TypeVar("Key")


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
    meaning: Outputs,
    progress: Progress = ignore,
) -> Evaluation[Key]:
    """Run every image in every runtime. Each image is decoded once; those that cannot be are skipped.

    Args:
        runtimes: open runtimes of a classifier with one input, by a name of the caller's.
        images: the images and their classes.
        preprocess: makes the input of an image.
        meaning: what the outputs mean.
        progress: told how many images are done.

    Raises:
        UsageError: none of the images can be read.
    """
    counts = {name: Count() for name in runtimes}
    problems: list[str] = []
    for chosen, scores in scores_of_images(
        runtimes, [image.file for image in images], preprocess, meaning, problems, progress
    ):
        for name, found in scores.items():
            counts[name].add(found, [images[index].target for index in chosen])
    return Evaluation({name: count.accuracy() for name, count in counts.items()}, tuple(problems))


def scores_of_images(
    runtimes: Mapping[Key, Runtime],
    files: Sequence[Path],
    preprocess: Preprocess,
    meaning: Outputs,
    problems: list[str],
    progress: Progress = ignore,
) -> Iterator[tuple[list[int], dict[Key, npt.NDArray[np.float64]]]]:
    """A few images at a time: which of the files, and their scores in every runtime.

    Several threads decode and run, as far as the threads of the runtimes leave CPUs for them.

    Args:
        runtimes: open runtimes of a classifier with one input, by a name of the caller's.
        files: the images.
        preprocess: makes the input of an image.
        meaning: what the outputs mean.
        problems: gets a sentence for each image that cannot be read, which is skipped.
        progress: told how many images are done.

    Raises:
        UsageError: none of the images can be read.
    """
    turns = {name: threading.Lock() for name, runtime in runtimes.items() if not runtime.concurrent}

    def work(start: int) -> tuple[list[int], dict[Key, npt.NDArray[np.float64]], list[str]]:
        inputs, chosen, skipped = [], [], []
        for index, file in enumerate(files[start : start + photographs.BATCH], start):
            try:
                inputs.append(preprocess.apply(open_image(file, whole=False)))
                chosen.append(index)
            except ImageError as error:
                skipped.append(f"{file} was skipped: {error.message}")
        if not inputs:
            return [], {}, skipped
        batch = np.stack(inputs)
        scores = {}
        for name, runtime in runtimes.items():
            with turns.get(name, contextlib.nullcontext()):
                answers = photographs.run(runtime, {runtime.signature.inputs[0].name: batch})
            assert meaning.name is not None
            scores[name] = batch_scores(answers[meaning.name], meaning)
        return chosen, scores, skipped

    at_once = max(1, available_cpus() // min((runtime.threads for runtime in runtimes.values()), default=1))
    starts = range(0, len(files), photographs.BATCH)
    with contextlib.closing(map_in_order(work, starts, at_once, join_timeout=None)) as results:
        for start, found in results:
            if isinstance(found, PinnaceError):
                raise found
            chosen, scores, skipped = found
            problems += skipped
            if chosen:
                yield chosen, scores
            progress(Event(Stage.EVALUATE, done=min(start + photographs.BATCH, len(files)), total=len(files)))
    if len(problems) == len(files):
        raise UsageError("none of the images can be read", got=problems[0] if problems else "no images")


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
    also: Sequence[tuple[str, str]] = (),
    options: RuntimeOptions | None = None,
    progress: Progress = ignore,
) -> tuple[list[VariantAccuracy], tuple[str, ...]]:
    """Count right answers of every variant in every runtime that works here.

    Args:
        bundle: an image classifier.
        images: a tree of images, one folder for each class.
        variants: only these.
        runtimes: only these; one that has to be asked for by name takes part only here.
        also: variants in runtimes that take part in any case.
        options: threads and device.
        progress: told how many images are done.

    Returns:
        The rows, and sentences on the order of the folders and on what was skipped.

    Raises:
        UsageError: the model is no image classifier, the tree does not fit it, or nothing is left to run.
        MissingDependency: no runtime here can run what was asked for.
    """
    require("classify", bundle)
    if bundle.outputs.several_labels:
        raise UsageError(
            f"of {bundle.name} several labels may be true, and a tree of folders gives one to each image",
            hint="give their labels with --truth FILE.csv",
        )
    found = read_image_folder(images, bundle.labels)
    order = order_note(images, bundle.labels)
    with contextlib.ExitStack() as stack:
        opened, skipped = open_runtimes(stack, bundle, variants, runtimes, options, also)
        result = evaluate(opened, found, bundle.preprocess, bundle.outputs, progress)
    rows = [
        VariantAccuracy(variant, runtime, accuracy)
        for (variant, runtime), accuracy in result.accuracies.items()
    ]
    return rows, (*([order] if order else ()), *skipped, *result.problems)


def open_runtimes(
    stack: contextlib.ExitStack,
    bundle: Bundle,
    variants: Sequence[str],
    runtimes: Sequence[str],
    options: RuntimeOptions | None,
    also: Sequence[tuple[str, str]] = (),
) -> tuple[dict[tuple[str, str], Runtime], list[str]]:
    """Open variants in every runtime that works here.

    Args:
        stack: closes them.
        bundle: the bundle.
        variants: only these; all where there are none.
        runtimes: only these; one that has to be asked for by name takes part only here.
        options: threads and device.
        also: variants in runtimes that take part in any case.

    Returns:
        The runtimes by the names of variant and runtime, and a sentence for each that was skipped.

    Raises:
        UsageError: nothing is left to run.
        MissingDependency: no runtime here can run what was asked for.
    """
    chosen = [bundle.variant(name) for name in variants] or bundle.manifest.variants
    opened: dict[tuple[str, str], Runtime] = {}
    skipped = []
    for variant in chosen:
        readers = [r for name in runtimes or (None,) for r in readers_for(variant.format, name)]
        readers += [
            reader
            for one, name in also
            if one == variant.name
            for reader in readers_for(variant.format, name)
            if reader not in readers
        ]
        for reader in readers:
            problem = reader.unavailable_reason()
            if options is not None and not reader.runs_on(options.device):
                problem = f"it does not run on {options.device}"
            try:
                if problem is None:
                    reader.check_variant(bundle, variant)
            except BundleError as error:
                problem = error.message
            if problem is not None:
                skipped.append(f"{variant.name} in {reader.name} was skipped: {problem}")
                continue
            runtime = open_variant(bundle, variant, reader.name, options)
            opened[variant.name, reader.name] = stack.enter_context(runtime)
    if not opened:
        raise (MissingDependency if skipped else UsageError)(
            f"nothing in {bundle.folder} can be run here",
            got="; ".join(skipped) or ", ".join(runtimes),
        )
    return opened, skipped


def export_accuracy(
    folder: Path,
    exported: ExportedFiles,
    meaning: Outputs,
    names: Sequence[VariantName],
    images: Sequence[LabelledImage],
    progress: Progress,
    most: float | None = None,
) -> dict[str, Accuracy]:
    """Count right answers of each variant of an export, in the first runtime of this machine that loads it.

    Args:
        folder: where the variants' files are.
        exported: what was written.
        meaning: what the outputs mean.
        names: of the variants.
        images: images and their classes.
        progress: told before each step.
        most: how many points (hundredths) of top-1 a variant may lose against fp32; None for any number.

    Returns:
        The accuracy by the name of the variant; what stands for fp32 comes first.

    Raises:
        CheckFailed: a variant loses more.
    """
    assert exported.preprocess is not None
    with contextlib.ExitStack() as stack:
        fp32 = stack.enter_context(open_reference(folder, exported, photographs.bulk_options()))
        runtimes: dict[str, Runtime] = {fp32.path.stem: fp32}
        for name in names:
            path = folder / exported.files[name]
            for runtime_class in runtimes_for(name.format):
                if str(name) in runtimes or runtime_class.opt_in or runtime_class.unavailable_reason():
                    continue
                with contextlib.suppress(BundleError):
                    opened = runtime_class(
                        path, exported.signature, photographs.bulk_options(device=options(name).device)
                    )
                    runtimes[str(name)] = stack.enter_context(opened)
        result = evaluate(runtimes, images, exported.preprocess, meaning, progress)
        for variant, accuracy in result.accuracies.items():
            if most is None:
                continue
            try:
                check_drop(variant, accuracy, result.accuracies[fp32.path.stem], most)
            except CheckFailed:
                progress(Event(Stage.COMPARE, variant, runtimes[variant].name))
                _keep_lost(folder, fp32, runtimes[variant], images, exported.preprocess, meaning)
                raise
    return result.accuracies


def _keep_lost(
    folder: Path,
    fp32: Runtime,
    other: Runtime,
    images: Sequence[LabelledImage],
    preprocess: Preprocess,
    meaning: Outputs,
) -> None:
    """Write down the first image that fp32 is right about and the other is not."""
    assert meaning.name is not None
    (given,) = fp32.signature.inputs
    for image in images:
        try:
            feeds = {given.name: preprocess.apply(open_image(image.file))[None]}
        except ImageError:
            continue
        answers = photographs.run(fp32, feeds)
        right, theirs = (
            batch_scores(rows[meaning.name], meaning).argmax() == image.target
            for rows in (answers, photographs.run(other, feeds))
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
