"""Verify a bundle from its files alone: hashes, preprocessing, every variant against the golden outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pinnace.export.validation import parity, photographs
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.measurements import Parity, Tolerance
from pinnace.models.errors import BundleError, CheckFailed, PinnaceError
from pinnace.models.image.decode import open_image
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.runtimes import readers_for
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import no_variant_for, open_variant


@dataclass(frozen=True)
class Verdict:
    """What became of one variant in one runtime.

    Attributes:
        variant: which variant.
        runtime: the runtime's name, or None where none reads its format here.
        parity: what was measured, or None.
        passed: True or False, or None where it could not be run here.
        problem: why not, in one sentence.
        unloadable: the runtime works here, and cannot load the file.
    """

    variant: Variant
    runtime: str | None
    parity: Parity | None
    passed: bool | None
    problem: str | None = None
    unloadable: bool = False


def verify_bundle(
    bundle: Bundle,
    *,
    variant: str | None = None,
    runtime: str | None = None,
    progress: Progress = ignore,
) -> list[Verdict]:
    """Compare every variant with the eager outputs that the bundle carries, in every runtime that works here.

    A runtime that is less exact than the file by intention is left out unless it is asked for by name.

    Args:
        bundle: the bundle.
        variant: only this one.
        runtime: only this one.
        progress: told before each step.

    Raises:
        CheckFailed: labels, golden data or the preprocessing of this machine are not what was exported.
        BundleError: a file is missing.
        UsageError: there is no such variant, or no runtime of that name reads any of them.
    """
    progress(Event(Stage.CHECK_FILES))
    for file in bundle.manifest.files:
        bundle.check_file(file)
    _ = bundle.labels  # as many as the model has classes
    check_preprocessing(bundle)
    variants = bundle.manifest.variants if variant is None else (bundle.variant(variant),)
    verdicts = []
    for chosen in variants:
        found = list(_verify_variant(bundle, chosen, runtime, progress))
        verdicts += found if any(verdict.passed for verdict in found) else [_failed(each) for each in found]
    if not verdicts:
        raise no_variant_for(bundle, str(runtime))
    return verdicts


def check_preprocessing(bundle: Bundle) -> None:
    """Prepare the golden photographs on this machine and compare with the golden inputs, to the bit.

    Raises:
        CheckFailed: this machine decodes or resizes otherwise than the one that exported.
    """
    stored = bundle.manifest.golden.photographs
    if not stored:
        return
    inputs = bundle.golden()[0][bundle.manifest.signature.inputs[0].name]
    for photograph in stored:
        here = bundle.preprocess.apply(open_image(bundle.path(photograph.file), whole=False))
        there = inputs[photograph.sample]
        if here.shape != there.shape:
            raise CheckFailed(
                f"the preprocessing makes another input of {photograph.file} than the golden one",
                expected=str(list(there.shape)),
                got=str(list(here.shape)),
                hint="export the model again, or copy the bundle again",
            )
        if not np.array_equal(here, there):
            difference = float(np.abs(here.astype(np.float64) - there).max())
            raise CheckFailed(
                f"this machine preprocesses {photograph.file} otherwise than the exporting machine did",
                expected="the same input to the bit",
                got=f"a difference of up to {difference:.3g} after normalisation",
                hint="install the Pillow version in the manifest's tools",
            )


def _failed(verdict: Verdict) -> Verdict:
    """The verdict on a file that no runtime here has loaded."""
    return replace(verdict, passed=False) if verdict.unloadable else verdict


def passed(verdicts: list[Verdict]) -> bool:
    """Whether nothing failed and something could be run."""
    return any(verdict.passed for verdict in verdicts) and all(
        verdict.passed is not False for verdict in verdicts
    )


def worthless(bundle: Bundle) -> str | None:
    """Why passing says nothing of this bundle; see `pinnace.export.validation.parity.says_nothing`."""
    fp32 = [each.tolerance for each in bundle.manifest.variants if each.precision == "fp32"]
    return parity.says_nothing(bundle.golden()[1], bundle.outputs, fp32[0] if fp32 else Tolerance())


def _verify_variant(
    bundle: Bundle, variant: Variant, runtime: str | None, progress: Progress
) -> Iterator[Verdict]:
    try:
        bundle.check_variant(variant)
    except CheckFailed as error:
        yield Verdict(variant, None, None, False, str(error))
        return
    inputs, outputs = bundle.golden()
    for reader in readers_for(variant.format, runtime):
        problem = reader.unavailable_reason()
        if problem is not None:
            hint = reader.install_hint()
            yield Verdict(variant, reader.name, None, None, problem + (f": {hint}" if hint else ""))
            continue
        try:
            reader.check_variant(bundle, variant)
        except BundleError as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines())
            yield Verdict(variant, reader.name, None, None, reason)
            continue
        progress(Event(Stage.COMPARE, variant.name, reader.name))
        try:
            opened = open_variant(bundle, variant, reader.name, RuntimeOptions())
        except BundleError as error:
            # Another runtime may load it, and then it is this one that lacks something.
            yield Verdict(variant, reader.name, None, None, str(error), unloadable=True)
            continue
        except PinnaceError as error:
            yield Verdict(variant, reader.name, None, False, str(error))
            continue
        try:
            with opened:
                asked, answers, tolerance = photographs.judged(
                    bundle.manifest.golden, inputs, outputs, reader.tolerance(variant)
                )
                noise = parity.noise_of(bundle.manifest.golden, variant, reader.tolerance(variant))
                measured = parity.measure(opened, asked, answers, meaning=bundle.outputs, noise=noise)
        except PinnaceError as error:
            yield Verdict(variant, reader.name, None, False, str(error))
            continue
        if not parity.demands_something(tolerance):
            problem = "its manifest does not say how far it may be from the model, so it cannot pass"
            yield Verdict(variant, reader.name, measured, False, problem)
            continue
        broken = parity.excess(measured, tolerance)
        problem = None if broken is None else f"expected {broken[0]}, got {broken[1]}"
        yield Verdict(variant, reader.name, measured, broken is None, problem)
