"""Judges variants in runtimes on images: points of top-1 lost, or how many first classes differ."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pinnace.export.image_folder import read_image_folder
from pinnace.export.validation.accuracy import scores_of_images, wilson
from pinnace.export.validation.photographs import bulk_options
from pinnace.latency.tuning.judgement import Judgement
from pinnace.latency.tuning.space import Pair
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.image.find import find_images
from pinnace.models.progress import Progress
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import Runtime
from pinnace.models.selection import open_variant

_Z = 1.959963984540054  # two-sided 95 % of the normal distribution


class ImageJudge:
    """Runs every pair once on the same images."""

    def __init__(self, bundle: Bundle, folder: Path, most: int, seed: int, progress: Progress) -> None:
        """Find the images; where there are more than `most`, so many are drawn.

        Raises:
            UsageError: there are none.
        """
        self._bundle, self._progress = bundle, progress
        self.notes: list[str] = []
        self._targets: dict[Path, int] = {}
        # With labels where the tree gives one to each image; the model's several labels have no single one.
        if not bundle.outputs.several_labels:
            with contextlib.suppress(UsageError):
                self._targets = {one.file: one.target for one in read_image_folder(folder, bundle.labels)}
        files = list(self._targets) or [Path(name) for name in find_images([folder]).images]
        if not files:
            raise UsageError(f"there are no images in {folder}", expected="JPEG, PNG or other image files")
        if len(files) > most:
            self.notes.append(f"{most} of the {len(files)} images were drawn to judge by (seed {seed})")
            files = random.Random(seed).sample(files, most)
        self.files = files

    @property
    def labelled(self) -> bool:
        """Whether the images have labels."""
        return bool(self._targets)

    def __call__(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Judge the pairs; one that cannot be opened is left out, and `notes` says why.

        Raises:
            UsageError: none of the images can be read, or no pair can be opened.
        """
        first: dict[Pair, list[int]] = {}
        read: list[Path] = []
        problems: list[str] = []
        with contextlib.ExitStack() as stack:
            opened = self._open(stack, pairs)
            if not opened:
                raise UsageError("no variant can be opened here", got="; ".join(self.notes) or "none")
            found = scores_of_images(
                opened, self.files, self._bundle.preprocess, self._bundle.outputs, problems, self._progress
            )
            for chosen, scores in found:
                read += [self.files[index] for index in chosen]
                for pair, rows in scores.items():
                    first.setdefault(pair, []).extend(np.argmax(rows, axis=1).tolist())
        if problems:
            self.notes.append(f"{len(problems)} images could not be read, such as {problems[0]}")
        reference = first[self._reference(list(opened))]
        return [self._judged(pair, classes, reference, read) for pair, classes in first.items()]

    def _open(self, stack: contextlib.ExitStack, pairs: Sequence[Pair]) -> dict[Pair, Runtime]:
        opened: dict[Pair, Runtime] = {}
        for pair in pairs:
            variant, options = self._bundle.variant(pair.variant), bulk_options(device=pair.device)
            try:
                one = open_variant(self._bundle, variant, pair.runtime, options)
            except PinnaceError as error:
                self.notes.append(f"{pair} cannot run: {error.message}")
                continue
            opened[pair] = stack.enter_context(one)
        return opened

    def _reference(self, pairs: Sequence[Pair]) -> Pair:
        """The first fp32 variant in a runtime that keeps its precision; else the first of all."""
        precisions = {variant.name: variant.precision for variant in self._bundle.manifest.variants}
        exact = [p for p in pairs if precisions[p.variant] == "fp32" and not all_runtimes()[p.runtime].opt_in]
        if not exact:
            self.notes.append(f"no fp32 variant runs here, so all are compared with {pairs[0]}")
        return (exact or pairs)[0]

    def _judged(self, pair: Pair, classes: list[int], reference: list[int], read: list[Path]) -> Judgement:
        count = len(classes)
        if self._targets:
            right = [c == self._targets[file] for c, file in zip(classes, read, strict=True)]
            base = [c == self._targets[file] for c, file in zip(reference, read, strict=True)]
            worse = sum(b and not r for b, r in zip(base, right, strict=True))
            better = sum(r and not b for b, r in zip(base, right, strict=True))
            lost, interval = paired_loss(worse, better, count)
        else:
            same = sum(a == b for a, b in zip(classes, reference, strict=True))
            low, high = wilson(same, count)
            lost, interval = 100 * (1 - same / count), (100 * (1 - high), 100 * (1 - low))
        labelled = bool(self._targets)
        return Judgement(pair.variant, pair.runtime, count, lost, interval, labelled, pair.device)


def paired_loss(worse: int, better: int, images: int) -> tuple[float, tuple[float, float]]:
    """Points lost on the same images, with a 95 % interval.

    The interval is that of Agresti and Min (2005, "Simple improved confidence intervals for comparing matched
    proportions"): Wald's, after half an image is added to each of the four cells.

    Args:
        worse: images that only the reference is right about.
        better: images that only the other is right about.
        images: all of them.
    """
    n, b, c = images + 2.0, worse + 0.5, better + 0.5
    centre = (b - c) / n
    half = _Z * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return 100 * (worse - better) / images, (100 * (centre - half), 100 * (centre + half))
