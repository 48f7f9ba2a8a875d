"""Right answers of an export on the user's labelled images, and what they say of its preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.export.image_folder import LabelledImage, order_note, read_image_folder
from pinnace.export.request import ExportedFiles, ResizeTrial
from pinnace.export.validation.accuracy import export_accuracy
from pinnace.models.bundle.measurements import Accuracy
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.errors import UsageError
from pinnace.models.progress import Progress
from pinnace.models.variant_name import VariantName

# Of a larger tree so many images are counted, evenly chosen; `pinnace eval` counts all.
MOST_IMAGES = 1000

# Less than this share of the way from guessing to always right is taken for guessing.
_GUESSING = 0.1


@dataclass(frozen=True)
class Counted:
    """What was counted.

    Attributes:
        notes: sentences for the user.
        accuracies: by the name of the variant; none where the images are not labelled.
    """

    notes: tuple[str, ...] = ()
    accuracies: Mapping[str, Accuracy] = field(default_factory=dict)


def count_right(
    folder: Path,
    exported: ExportedFiles,
    meaning: Outputs,
    labels: Sequence[str],
    names: Sequence[VariantName],
    images: Path,
    most: float | None,
    progress: Progress,
) -> Counted:
    """Count the right answers of an export on the user's images, where they are in a folder for each class.

    Args:
        folder: where the variants' files are.
        exported: what was written.
        meaning: what the outputs mean.
        labels: one class name per output; none for what is not a classifier.
        names: of the variants.
        images: the user's images.
        most: how many points (hundredths) of top-1 a variant may lose; None for any number, and then images
            that are not labelled are no error.
        progress: told before each step.

    Raises:
        UsageError: `most` is given, and the model is no image classifier, or the tree does not fit it.
        CheckFailed: a variant loses more.
    """
    if most is not None:
        if not labels or exported.preprocess is None:
            raise UsageError("--max-drop needs an image classifier")
        if meaning.several_labels:
            raise UsageError("--max-drop is about top-1, and several labels may be true of an image")
    elif not labels or exported.preprocess is None or meaning.several_labels or not _has_folders(images):
        return Counted()
    try:
        found: Sequence[LabelledImage] = read_image_folder(images, labels)
    except UsageError as error:
        if most is not None:
            raise
        got = f" ({error.got})" if error.got else ""
        return Counted((f"top-1 was not counted on {images}: {error.message}{got}",))
    if most is None:
        found = _some(found)
    accuracies = export_accuracy(folder, exported, meaning, names, found, progress, most)
    order = order_note(images, labels)
    notes = accuracy_notes(images, accuracies, len(labels), exported.trial)
    return Counted((*notes, *([order] if order else [])), accuracies)


def _has_folders(images: Path) -> bool:
    return any(path.is_dir() for path in images.iterdir())


def _some(images: Sequence[LabelledImage]) -> Sequence[LabelledImage]:
    count = min(MOST_IMAGES, len(images))
    return [images[index * len(images) // count] for index in range(count)]


def accuracy_notes(
    folder: Path, accuracies: Mapping[str, Accuracy], classes: int, trial: ResizeTrial | None
) -> list[str]:
    """How many answers are right, and whether the preprocessing looks wrong.

    Args:
        folder: the images.
        accuracies: by the name of the variant, fp32 first.
        classes: how many there are.
        trial: what other preprocessings gave.
    """
    first = next(iter(accuracies.values()))
    counted = ", ".join(
        f"{name} {each.top1:.1%} ({each.top1_interval[0]:.1%} to {each.top1_interval[1]:.1%})"
        for name, each in accuracies.items()
    )
    notes = [f"top-1 on {first.images} images in {folder}: {counted}"]
    chance = 1 / classes
    guessing = first.top1 < chance + _GUESSING * (1 - chance)
    if trial is not None and trial.better is not None:
        notes.append(
            f"of {trial.images} of these images another preprocessing gets {trial.better_right} right, and "
            f"the one that was taken {trial.right}: export again with {trial.better}"
        )
    elif guessing:
        notes.append(
            f"that is near what guessing gives ({chance:.1%} for {classes} classes), and no other "
            "preprocessing that was tried does clearly better: check the order of --labels, and the weights"
        )
    return notes
