"""From a source to a bundle whose every variant has been compared with the eager model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from pinnace.export import model_card
from pinnace.export.calibration_images import PreparedImages, prepare_folder
from pinnace.export.convert import convert
from pinnace.export.formats import conversion_of
from pinnace.export.image_folder import folder_labels
from pinnace.export.outputs import Answers, OutputOptions, decide, labels_for
from pinnace.export.precision.base import AUTO, DEFAULT_METHOD, METHODS
from pinnace.export.precision.recipes import all_recipes
from pinnace.export.reproduce.script import Script, script_path
from pinnace.export.request import ExportedFiles, ExportRequest
from pinnace.export.targets import Target
from pinnace.export.validation import parity
from pinnace.export.validation.labelled import count_right
from pinnace.export.validation.reference import keep_reference
from pinnace.export.validation.validator import Validator, original, reference_photographs, stored_golden
from pinnace.export.worker.spawn import run_worker
from pinnace.models.bundle import golden, manifest
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Manifest
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import BATCH
from pinnace.models.errors import UsageError
from pinnace.models.files import new_folder, sha256
from pinnace.models.labels import read_labels
from pinnace.models.progress import Progress, ignore
from pinnace.models.runtimes import all_runtimes
from pinnace.models.uses import why_not

LABELS = "labels.txt"
DEFAULT_TIMEOUT = 600.0


@dataclass(frozen=True)
class Evidence:
    """Images of the user's, and what is demanded on them.

    Attributes:
        calibrate: a folder of images to find the ranges of int8 on.
        method: how ranges are found.
        recipe: of int8: a name, or `auto` for the one that does best on images that were held out.
        images: a folder of photographs to compare each variant with fp32 on; with one folder for each class,
            right answers are counted as well.
        max_drop: how many points of top-1 a variant may lose against fp32 on `images`.
    """

    calibrate: Path | None = None
    method: str = DEFAULT_METHOD
    images: Path | None = None
    max_drop: float | None = None
    recipe: str = AUTO

    def __post_init__(self) -> None:
        for option, folder in (("--calibrate", self.calibrate), ("--images", self.images)):
            if folder is not None and not folder.is_dir():
                raise UsageError(f"{option}: there is no folder {folder}", expected="a folder with images")
        if self.max_drop is not None and self.images is None:
            raise UsageError("--max-drop needs labelled images", expected="--images DIR")
        if self.method not in METHODS:
            raise UsageError(
                "there is no such calibration method",
                expected="one of " + ", ".join(METHODS),
                got=self.method,
            )
        if self.recipe not in (known := (AUTO, *all_recipes())):
            raise UsageError(
                "there is no such int8 recipe", expected="one of " + ", ".join(known), got=self.recipe
            )


def export_bundle(
    request: ExportRequest,
    target: Target,
    out: Path,
    *,
    labels: Path | None = None,
    evidence: Evidence | None = None,
    meaning: OutputOptions | None = None,
    progress: Progress = ignore,
    timeout: float = DEFAULT_TIMEOUT,
) -> Bundle:
    """Load a model, write its variants, prove each of them, and move the bundle into place.

    Args:
        request: what to export.
        target: where it will run.
        out: the bundle's folder; a bundle that stands there is replaced at the end.
        labels: a file of class names, instead of the source's own labels; see `read_labels`.
        evidence: images to calibrate and to prove with.
        meaning: what the user says of the outputs.
        progress: told before each step.
        timeout: seconds for loading and writing.

    Raises:
        UsageError, SourceError, MissingDependency: the request cannot be carried out.
        CheckFailed: a variant differs from the eager model by more than the target allows. What is left is a
            script beside the log that shows the failing step without Pinnace.
    """
    own_labels = None if labels is None else read_labels(labels)
    own = own_labels.names if own_labels else None
    evidence = evidence or Evidence()
    out = out.absolute()
    model = out.name.removesuffix(".bundle")
    log = out.parent / f"{model}.bundle.log"  # never NAME.log, which may well be the user's own
    script = Script(script_path(out), request)
    with new_folder(out, marker=manifest.FILE_NAME) as folder, script.written_on_failure(folder, log):
        written = tuple(name for name in request.variants if conversion_of(name) is None)
        bound = target.tolerance.get("fp32", Tolerance()).max_rel
        try:
            exported = run_worker(
                replace(
                    request,
                    variants=written,
                    fp32_bound=bound,
                    images=None if evidence.images is None else str(evidence.images.absolute()),
                    labels=own,
                    output=None if meaning is None else meaning.output,
                ),
                folder,
                log,
                script.follow(progress),
                timeout=timeout,
            )
        finally:
            if log.is_file() and log.stat().st_size == 0:
                log.unlink()
        progress, script.signature = script.follow(progress), exported.signature
        script.original = original(exported)
        outputs, said = _outputs(folder, exported, request, own, meaning or OutputOptions())
        of_folders = None if own or exported.labels else _folder_labels(evidence.images, outputs)
        names = labels_for(outputs, exported.signature, own or of_folders, exported.labels)
        takes_image = exported.preprocess is not None
        fitness = partial(why_not, name=model, signature=exported.signature, outputs=outputs)
        if own_labels is not None and (unfit := fitness("classify", takes_image=takes_image)) is not None:
            raise UsageError(f"--labels: {unfit[0]}", hint=unfit[1])
        unserved = fitness("serve", takes_image=takes_image) or ()
        if names is not None:
            (folder / LABELS).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        calibration, given = _prepared(exported, evidence, progress)
        exported = convert(
            folder,
            exported,
            request.variants,
            calibration,
            progress,
            method=evidence.method,
            recipe=evidence.recipe,
            one_class=outputs.function == "softmax" and len(exported.signature.outputs) == 1,
            required=request.named,
        )
        seen = reference_photographs(folder, exported, given or calibration, progress)
        keep_reference(folder, given or calibration, seen, outputs, names)
        validator = Validator(folder, exported, outputs, target.tolerance, seen, progress)
        chosen = [name for name in request.variants if name in exported.files]
        chosen += [name for name in exported.files if name not in chosen]
        variants = tuple(validator.validate(name, exported.files[name]) for name in chosen)
        told = list(own_labels.notes) if own_labels else _about_labels(exported, names, of_folders)
        if evidence.images is not None:
            counted = count_right(
                folder, exported, outputs, names or (), chosen, evidence.images, evidence.max_drop, progress
            )
            told += counted.notes
            variants = tuple(replace(v, accuracy=counted.accuracies.get(v.name)) for v in variants)
        proved_by = [
            all_runtimes()[name] for name in sorted({v.parity.runtime for v in variants if v.parity})
        ]
        nothing = parity.says_nothing(
            golden.read(folder / golden.FILE)[1], outputs, target.tolerance.get("fp32", Tolerance())
        )
        unread = [problem for images in (calibration, given) if images for problem in images.problems]
        document = Manifest(
            schema_version=manifest.SCHEMA_VERSION,
            name=model,
            source=request.source,
            preprocess=exported.preprocess,
            labels=None if names is None else LABELS,
            signature=exported.signature,
            variants=variants,
            golden=stored_golden(exported),
            files={},
            tools=exported.tools
            | {each.name: each.version() for each in proved_by if each.module not in exported.tools},
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            notes=(
                *exported.notes,
                *said,
                *(["; ".join(unserved)] if unserved else []),
                *([nothing] if nothing else []),
                *told,
                *validator.notes,
                *unread,
            ),
            batch=_batch(exported.signature.batch, target),
            runtimes=target.runtimes,
            outputs=outputs,
        )
        (folder / model_card.FILE).write_text(model_card.render(document, names or ()), encoding="utf-8")
        document = replace(document, files=_hashes(folder, set(exported.files.values())))
        (folder / manifest.FILE_NAME).write_bytes(document.to_json())
    log.unlink(missing_ok=True)
    return Bundle.open(out, check_signature=False)


def _prepared(
    exported: ExportedFiles, evidence: Evidence, progress: Progress
) -> tuple[PreparedImages | None, PreparedImages | None]:
    """The images to calibrate with and the ones to prove with, as the model wants to eat them."""
    prepared: list[PreparedImages | None] = []
    for option, folder in (("--calibrate", evidence.calibrate), ("--images", evidence.images)):
        if folder is None:
            prepared.append(None)
        elif exported.preprocess is None:
            raise UsageError(f"{option}: the model takes no image")
        else:
            prepared.append(prepare_folder(folder, exported.preprocess, progress))
    return prepared[0], prepared[1]


def _outputs(
    folder: Path,
    exported: ExportedFiles,
    request: ExportRequest,
    own: tuple[str, ...] | None,
    meaning: OutputOptions,
) -> tuple[Outputs, tuple[str, ...]]:
    """What the answer means; see `pinnace.export.outputs.decide`."""
    labels = own or exported.labels
    known = Answers(
        exported.signature,
        golden.read(folder / golden.FILE)[1],
        exported.ends,
        takes_image=exported.preprocess is not None,
        labels=None if labels is None else len(labels),
        classes=request.num_classes if exported.classes is None else exported.classes,
        own_labels=own is not None,
        of_onnx=any(map(exported.is_given_file, exported.files)),
    )
    return decide(known, meaning)


def _folder_labels(images: Path | None, outputs: Outputs) -> tuple[str, ...] | None:
    """The class names that the user's folders give, where nobody else gives any."""
    if images is None or outputs.classes is None or outputs.several_labels:
        return None
    return folder_labels(images, outputs.classes)


def _about_labels(
    exported: ExportedFiles, names: tuple[str, ...] | None, of_folders: tuple[str, ...] | None
) -> list[str]:
    """What is said of a classifier whose class names nobody gave."""
    if of_folders is not None:
        return [
            "the source has no class names: those of the folders of --images are taken, in the order of "
            f"their text as ImageFolder has it ({', '.join(of_folders[:3])}, ...); --labels FILE says another"
        ]
    if names is None or (exported.labels is not None and len(exported.labels) == len(names)):
        return []
    stands = f"the numbers 0 to {len(names) - 1} stand for them, and --labels FILE names them"
    if exported.labels:
        return [f"the source has {len(exported.labels)} class names for {len(names)} classes: {stands}"]
    return [f"the source has no class names: {stands}"]


def _batch(takes: int | str | None, target: Target) -> tuple[int, int]:
    """The target's batches, or the only one that the model takes."""
    if takes == BATCH:
        return target.batch
    return (takes, takes) if isinstance(takes, int) else (1, 1)


def _hashes(folder: Path, variants: set[str]) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in names.items() if name not in variants}
