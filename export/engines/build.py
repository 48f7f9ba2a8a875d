"""`pinnace build`: engines for this machine from a bundle's ONNX variants, proved and put into the bundle."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pinnace.export import model_card
from pinnace.export.engines.engine import build_engine
from pinnace.export.validation import parity, photographs
from pinnace.models.bundle import manifest
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.measurements import Parity
from pinnace.models.errors import BundleError, CheckFailed, MissingDependency, UsageError
from pinnace.models.files import sha256, write_atomic
from pinnace.models.progress import Progress, ignore
from pinnace.models.runtimes import all_runtimes, cuda
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.tensorrt import TensorRt

SUFFIX = ".engine"

# What int8 variants for CPUs have between their nodes, and TensorRT does not take.
FOR_CPUS = {"uint8": "uint8", "int8-asymmetric": "int8 with a zero point"}


def builders() -> dict[str, type[TensorRt]]:
    """The runtimes that engines are built for, by name, the preferred one first."""
    return {name: kind for name, kind in all_runtimes().items() if issubclass(kind, TensorRt)}


def build_unavailable_reason(builder: type[TensorRt]) -> str | None:
    """Why a builder cannot build here, or None if it can."""
    problem = super(TensorRt, builder).unavailable_reason() or builder.import_failure()
    if problem is None and not builder.builds_without_gpu and (missing := cuda.unavailable_reason()):
        return f"{builder.name} builds only where there is a GPU: {missing}"
    return problem


def choose_builder(name: str | None) -> type[TensorRt]:
    """The builder of that name, or the first that can build here.

    Raises:
        UsageError: there is no such builder.
        MissingDependency: it cannot build here.
    """
    known = builders()
    if name is not None and name not in known:
        raise UsageError(
            f"runtime {name} has no engines to build", expected="one of " + ", ".join(known), got=name
        )
    candidates = known if name is None else {name: known[name]}
    problems = {name: build_unavailable_reason(builder) for name, builder in candidates.items()}
    for name, problem in problems.items():
        if problem is None:
            return candidates[name]
    hints = [hint for builder in candidates.values() if (hint := builder.install_hint()) is not None]
    raise MissingDependency(
        "no engine can be built here: " + "; ".join(str(problem) for problem in problems.values()),
        hint=" or ".join(hints) or None,
    )


def sources(bundle: Bundle, names: list[str] | None) -> list[Variant]:
    """The ONNX variants of those names, or all of them.

    Raises:
        UsageError: there is no such variant, or it is not ONNX.
    """
    found = [v for v in bundle.manifest.variants if v.format == "onnx" and v.activations not in FOR_CPUS]
    if names:
        found = [bundle.variant(name) for name in names]
        if others := [variant for variant in found if variant.activations in FOR_CPUS]:
            kind = FOR_CPUS[others[0].activations or ""]
            raise UsageError(
                f"{others[0].name} was quantised for CPUs: TensorRT takes no activations of {kind}",
                expected="onnx-int8sym, where the bundle has it",
                got=others[0].name,
                hint="export with --precision int8sym, or with a target for TensorRT such as rtx",
            )
    unread = [variant.name for variant in found if variant.format != "onnx"]
    if unread or not found:
        raise UsageError(
            "engines are built from ONNX variants",
            expected="one of " + ", ".join(v.name for v in bundle.manifest.variants if v.format == "onnx"),
            got=", ".join(unread) or "a bundle without any",
        )
    return found


def build_variant(
    bundle: Bundle,
    source: Variant,
    builder: type[TensorRt],
    *,
    progress: Progress = ignore,
) -> Variant:
    """Build an engine, compare it with the golden outputs where a GPU can run it, and add it to the bundle.

    The timings of the builder are kept beside the bundle in `NAME.bundle.BUILDER.timings`, and its warnings
    in `NAME.bundle.build.log`.

    Args:
        bundle: the bundle.
        source: one of its ONNX variants.
        builder: what `choose_builder` gave.
        progress: see `build_engine`.

    Returns:
        The new variant. Its parity is None where there is no GPU.

    Raises:
        CheckFailed: the ONNX file has changed, cannot be built, or the engine does not answer like the eager
            model. The bundle is left as it was.
        UsageError: the bundle cannot be written.
    """
    bundle.check_variant(source)
    name = f"{builder.name}-{source.precision}"
    folder = bundle.folder.absolute()
    tied = builder.here(source.name, bundle.manifest.batch)
    try:
        handle, temporary_name = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    except OSError as error:
        raise UsageError(f"{bundle.folder} cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(temporary_name)
    try:
        data = build_engine(
            builder,
            bundle.path(source.file),
            bundle.manifest.signature,
            bundle.manifest.batch,
            cache=folder.parent / f"{folder.name}.{builder.name}.timings",
            log=folder.parent / f"{folder.name}.build.log",
            progress=progress,
        )
        temporary.write_bytes(data)
        temporary.chmod(0o644)
        variant = Variant(
            name=name,
            format=builder.formats[0],
            precision=source.precision,
            file=f"{name}{SUFFIX}",
            sha256=sha256(temporary),
            bytes=len(data),
            parity=None if tied.gpu is None else _prove(bundle, temporary, name, source, builder),
            tolerance=source.tolerance,
            engine=tied,
        )
        _add(folder, variant, temporary)
    finally:
        temporary.unlink(missing_ok=True)
    return variant


def _prove(bundle: Bundle, path: Path, name: str, source: Variant, builder: type[TensorRt]) -> Parity:
    smallest, largest = bundle.manifest.batch
    inputs, outputs, tolerance = photographs.judged(
        bundle.manifest.golden, *bundle.golden(), source.tolerance
    )
    with builder(path, bundle.manifest.signature, RuntimeOptions()) as runtime:
        result = parity.measure(
            runtime,
            inputs,
            outputs,
            meaning=bundle.outputs,
            noise=parity.noise_of(bundle.manifest.golden, source, source.tolerance),
            batches=[size for size in parity.BATCHES if smallest <= size <= largest] or [smallest],
        )
    if (broken := parity.excess(result, tolerance)) is not None:
        expected, got = broken
        raise CheckFailed(
            f"{name} does not answer like the eager model; it was not added to {bundle.folder}",
            expected=expected,
            got=got,
        )
    return result


def _add(folder: Path, variant: Variant, file: Path) -> None:
    """Put a variant into the bundle. Interrupted anywhere, it leaves a whole bundle, with or without it.

    Engines that were proved here stand first, in the order of their sources; the others stand last.
    """
    with _locked(folder):
        document = manifest.read(folder)
        others = tuple(v for v in document.variants if v.name != variant.name)
        if len(others) < len(document.variants):
            _write(folder, replace(document, variants=others))
        file.replace(folder / variant.file)
        order = [v.name for v in others if v.engine is None]

        def place(chosen: Variant) -> tuple[int, int]:
            if chosen.engine is None:
                return 1, order.index(chosen.name)
            rank = order.index(chosen.engine.source) if chosen.engine.source in order else len(order)
            return (2 if chosen.parity is None else 0), rank

        _write_with_card(folder, replace(document, variants=tuple(sorted((*others, variant), key=place))))


def _write_with_card(folder: Path, document: manifest.Manifest) -> None:
    """Write the manifest, and the card anew; a card that somebody has changed is left alone.

    Between the two the manifest names no hash of the card, so that the bundle is whole at any moment.
    """
    path = folder / model_card.FILE
    if document.files.get(model_card.FILE) != (sha256(path) if path.is_file() else None):
        _write(folder, document)
        return
    files = {name: digest for name, digest in document.files.items() if name != model_card.FILE}
    _write(folder, replace(document, files=files))
    write_atomic(path, model_card.render(document, Bundle(folder, document).labels).encode())
    _write(folder, replace(document, files={**files, model_card.FILE: sha256(path)}))


def _write(folder: Path, document: manifest.Manifest) -> None:
    write_atomic(folder / manifest.FILE_NAME, document.to_json())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the bundle's folder, so that two builds at once do not drop each other's variants."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise BundleError(f"{folder} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
