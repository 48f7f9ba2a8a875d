"""From a source to a bundle whose every variant has been compared with the eager model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from pinnace.export import parity
from pinnace.export.child import run_worker
from pinnace.export.formats import split
from pinnace.export.request import ExportedFiles, ExportRequest
from pinnace.export.targets import Target
from pinnace.models import golden, manifest
from pinnace.models.bundle import Bundle
from pinnace.models.errors import CheckFailed, MissingDependency, UsageError
from pinnace.models.files import new_folder, sha256
from pinnace.models.manifest import Golden, Manifest, Photograph, Tolerance, Variant
from pinnace.models.runtimes import all_runtimes, runtimes_for
from pinnace.models.runtimes.base import RuntimeOptions

LABELS = "labels.txt"
DEFAULT_TIMEOUT = 600.0


def export_bundle(
    request: ExportRequest,
    target: Target,
    out: Path,
    *,
    labels: Path | None = None,
    step: Callable[[str], None] = lambda text: None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Bundle:
    """Load a model, write its variants, prove each of them, and move the bundle into place.

    Args:
        request: what to export.
        target: where it will run.
        out: the bundle's folder; a bundle that stands there is replaced at the end.
        labels: a file with one class name a line, instead of the source's own labels.
        step: called with a few words before each step.
        timeout: seconds for loading and writing.

    Raises:
        UsageError, SourceError, MissingDependency: the request cannot be carried out.
        CheckFailed: a variant differs from the eager model by more than the target allows. Nothing is left.
    """
    own_labels = None if labels is None else read_labels(labels)
    out = out.absolute()
    model = out.name.removesuffix(".bundle")
    log = out.parent / f"{model}.bundle.log"  # never NAME.log, which may well be the user's own
    with new_folder(out, marker=manifest.FILE_NAME) as folder:
        try:
            exported = run_worker(request, folder, log, step, timeout=timeout)
        finally:
            if log.is_file() and log.stat().st_size == 0:
                log.unlink()
        names = _labels(exported, own_labels)
        if names is not None:
            (folder / LABELS).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        variants = [_prove(folder, name, exported, target, step) for name in request.variants]
        proved_by = sorted({v.parity.runtime for v in variants if v.parity} - {"torchscript"})
        document = Manifest(
            schema_version=manifest.SCHEMA_VERSION,
            name=model,
            source=request.source,
            preprocess=exported.preprocess,
            labels=None if names is None else LABELS,
            signature=exported.signature,
            variants=tuple(variants),
            golden=Golden(
                golden.FILE,
                exported.samples,
                tuple(Photograph(file, sample) for file, sample in exported.photographs.items()),
            ),
            files=_hashes(folder, set(exported.files.values())),
            tools=exported.tools | {name: all_runtimes()[name].version() for name in proved_by},
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            notes=exported.notes,
        )
        (folder / manifest.FILE_NAME).write_bytes(document.to_json())
    log.unlink(missing_ok=True)
    return Bundle.open(out)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read one class name a line.

    Raises:
        UsageError: the file is missing, no UTF-8 text, or empty.
    """
    try:
        names = tuple(path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as labels: {error}") from None
    if not names:
        raise UsageError(f"{path} holds no labels")
    return names


def _labels(exported: ExportedFiles, own: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The user's labels, else the source's where their number is right, else the indices."""
    if not exported.is_classifier:
        if own is not None:
            raise UsageError("--labels: the model does not answer with one row of logits per image")
        return None
    classes = exported.signature.outputs[0].shape[1]
    assert isinstance(classes, int)
    if own is not None:
        if len(own) != classes:
            raise UsageError(
                "--labels: their number is not the model's", expected=str(classes), got=str(len(own))
            )
        return own
    if exported.labels is not None and len(exported.labels) == classes:
        return exported.labels
    return tuple(map(str, range(classes)))


def _prove(
    folder: Path, name: str, exported: ExportedFiles, target: Target, step: Callable[[str], None]
) -> Variant:
    """Run a variant on the golden inputs with every runtime of this machine that reads it."""
    format, precision = split(name)
    path = folder / exported.files[name]
    tolerance = target.tolerance.get(precision, Tolerance())
    inputs, outputs = golden.read(folder / golden.FILE)
    proved: list[manifest.Parity] = []
    for runtime_class in runtimes_for(format.name):
        if runtime_class.opt_in or runtime_class.problem() is not None:
            continue
        step(f"comparing {name} in {runtime_class.name} with the eager model")
        with runtime_class(path, exported.signature, RuntimeOptions()) as runtime:
            result = parity.measure(runtime, inputs, outputs, classes=exported.is_classifier)
        if (broken := parity.excess(result, tolerance)) is not None:
            expected, got = broken
            raise CheckFailed(
                f"{name} in {runtime_class.name} does not answer like the eager model; no bundle was written",
                expected=expected,
                got=got,
                hint=_why(exported.warnings.get(name, ())),
            )
        proved.append(result)
    if not proved:
        readers = runtimes_for(format.name)
        raise MissingDependency(
            f"{name} cannot be proved here: no runtime that reads it is installed",
            hint=" or ".join(reader.install_line for reader in readers),
        )
    return Variant(
        name=name,
        format=format.name,
        precision=precision,
        file=path.name,
        sha256=sha256(path),
        bytes=path.stat().st_size,
        parity=proved[0],
        tolerance=tolerance,
    )


def _why(warned: tuple[str, ...]) -> str | None:
    if not warned:
        return None
    return f"the code takes decisions that depend on the data, and tracing froze one of them; see {warned[0]}"


def _hashes(folder: Path, variants: set[str]) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in names.items() if name not in variants}


def with_formats(request: ExportRequest, formats: list[str]) -> ExportRequest:
    """The same request with only the variants of some formats.

    Raises:
        UsageError: no variant is left.
    """
    kept = tuple(name for name in request.variants if split(name)[0].name in formats)
    if not kept:
        raise UsageError(
            f"--format {' '.join(formats)} leaves no variant",
            expected="one of " + ", ".join(request.variants),
        )
    return replace(request, variants=kept)
