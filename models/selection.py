"""Which variant answers, and in which runtime: the one rule of every command, of the server and of Python.

1. What the caller names.
2. The profile that `pinnace tune` wrote, where it holds for this bundle on this machine.
3. The first of the bundle's variants that a runtime of this machine runs: the order is the target's, whose
   author decided how exact the answers are to be.
4. Of the runtimes that read it, work here and are as exact as the file, the first that loads it, in the
   manifest's order; of two that it names, or does not name, the one that is faster on this CPU first
   (`Runtime.faster_than`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models import profile as profiles
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.errors import BundleError, MissingDependency, UsageError
from pinnace.models.profile import Profile
from pinnace.models.proposal import proposal
from pinnace.models.runtimes import all_runtimes, readers_for, runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions


@dataclass(frozen=True)
class RuntimeChoice:
    """What is decided before anything is opened: by the caller, or by a profile.

    Attributes:
        variant: a variant's name, or None for the first that a runtime of this machine can run.
        runtime: a runtime's name, or None for the first in the order that loads the variant.
        profile: where the choice comes from, if it comes from a profile.
        note: a sentence for the user on the profile that is used or is not; None where there is none.
        device: where, if the caller or the profile names a device; None for the runtime's own.
    """

    variant: str | None
    runtime: str | None
    profile: Profile | None = None
    note: str | None = None
    device: str | None = None


def select(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    *,
    device: str | None = None,
    use_profile: bool = True,
) -> RuntimeChoice:
    """Choose the variant and the runtime of a bundle, to open it with `open_bundle`.

    Args:
        bundle: the bundle.
        variant: what the user named, which leaves the profile out.
        runtime: likewise.
        device: likewise, where it is not the one that the profile runs on.
        use_profile: False leaves the profile out too.
    """
    if not use_profile or variant is not None or runtime is not None:
        return RuntimeChoice(variant, runtime, device=device)
    found, problem = profiles.find(bundle)
    if found is None:
        note = None if problem is None else f"{problem}; renew it with: pinnace tune {bundle.folder}"
        return RuntimeChoice(None, None, note=note, device=device)
    chosen = found.configuration
    if device not in (None, chosen.device or all_runtimes()[chosen.runtime].devices[0]):
        return RuntimeChoice(None, None, device=device)
    note = f"{bundle.name} runs as tuned for this machine: {chosen}; --no-profile leaves that out"
    return RuntimeChoice(chosen.variant, chosen.runtime, found, note, chosen.device or device)


def answering(bundle: Bundle, choice: RuntimeChoice) -> tuple[str, str | None]:
    """The names of the variant and the runtime that a choice comes to here; no runtime where none works."""
    variant = variant_for(bundle, choice.variant, choice.runtime, choice.device)
    names = [reader.name for reader in working_readers(bundle, variant, choice.runtime, choice.device)]
    return variant.name, next(iter(names), None)


def variant_for(
    bundle: Bundle, variant: str | None = None, runtime: str | None = None, device: str | None = None
) -> Variant:
    """A variant by name, or the first that a runtime of this machine can run; the first at all, if none can.

    Raises:
        UsageError: there is no such variant, or none for the runtime.
    """
    if variant is not None:
        return bundle.variant(variant)
    candidates = [
        v
        for v in bundle.manifest.variants
        if runtime is None or runtime in {r.name for r in runtimes_for(v.format)}
    ]
    if not candidates:
        raise no_variant_for(bundle, str(runtime))
    for candidate in candidates:
        if working_readers(bundle, candidate, runtime, device):
            return candidate
    return candidates[0]


def no_variant_for(bundle: Bundle, runtime: str) -> UsageError:
    """The error for a runtime that reads no variant of a bundle, or that is none."""
    known = all_runtimes()
    if runtime not in known:
        return UsageError(
            f"there is no runtime {runtime}",
            expected="one of " + ", ".join(known),
            got=runtime,
            hint=proposal(runtime, known),
        )
    names = {
        reader.name: None for variant in bundle.manifest.variants for reader in runtimes_for(variant.format)
    }
    built = known[runtime].devices == ("cuda",)
    return UsageError(
        f"{bundle.folder} has no variant for runtime {runtime}",
        expected="one of " + ", ".join(names),
        got=runtime,
        hint=f"pinnace build {bundle.folder} makes one on a machine with an NVIDIA GPU" if built else None,
    )


def working_readers(
    bundle: Bundle, variant: Variant, runtime: str | None = None, device: str | None = None
) -> list[type[Runtime]]:
    """The runtimes that work here and read a variant, in the order in which they are preferred.

    Args:
        bundle: the variant's.
        variant: the variant.
        runtime: only this one; one that is less exact than the file is there only if it is named.
        device: only those that can run on it.
    """
    return [
        reader
        for reader in _readers(bundle, variant, runtime)
        if reader.runs_on(device) and reader.unavailable_reason() is None
    ]


def open_bundle(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    options: RuntimeOptions | None = None,
) -> tuple[Variant, Runtime]:
    """Load what the caller names, or what the rule chooses where it does not; without the profile.

    Raises:
        As `open_variant`.
    """
    chosen = variant_for(bundle, variant, runtime, None if options is None else options.device)
    return chosen, open_variant(bundle, chosen, runtime, options)


def open_variant(
    bundle: Bundle,
    variant: Variant,
    runtime: str | None = None,
    options: RuntimeOptions | None = None,
) -> Runtime:
    """Check a variant's hash and load it; where one runtime cannot load it, the next is tried.

    Args:
        bundle: the bundle it belongs to.
        variant: which variant.
        runtime: the name of a runtime, or None for the first that works here, in the manifest's order.
        options: threads and device.

    Raises:
        UsageError: no such runtime, or it does not read this format.
        MissingDependency: the runtime's package is not installed.
        BundleError: the variant was made for another machine, or no runtime can load it.
        CheckFailed: the file is not what was exported.
    """
    options = options or RuntimeOptions()
    readers = _readers(bundle, variant, runtime)
    if runtime is not None and not readers:
        raise UsageError(
            f"runtime {runtime} cannot run {variant.name}",
            expected="one of " + ", ".join(reader.name for reader in runtimes_for(variant.format)),
            got=runtime,
        )
    if not readers:
        raise BundleError(
            f"{variant.name} has the format {variant.format!r}, which no runtime reads",
            hint="export the model again",
        )
    # Where none can run on the device, the first of them says so.
    readers = [reader for reader in readers if reader.runs_on(options.device)] or readers[:1]
    problems: dict[str, str] = {}
    refused: BundleError | None = None
    for reader in readers:
        problem = reader.unavailable_reason()
        if problem is None:
            reader.check_variant(bundle, variant)
            bundle.check_variant(variant)
            try:
                return reader(bundle.path(variant.file), bundle.manifest.signature, options)
            except BundleError as error:
                refused = refused or error
                problem = error.message
        problems[reader.name] = problem
    if refused is not None:
        raise refused
    hints = [hint for reader in readers if (hint := reader.install_hint()) is not None]
    raise MissingDependency(
        f"no runtime on this machine can run {variant.name}: "
        + "; ".join(f"{name}: {problem}" for name, problem in problems.items()),
        hint=f"install one with: {hints[0]}" if hints else None,
    )


def _readers(bundle: Bundle, variant: Variant, runtime: str | None) -> list[type[Runtime]]:
    """What reads a variant, whether or not it works here, the preferred one first."""
    order = bundle.manifest.runtimes
    readers = sorted(
        (
            reader
            for reader in readers_for(variant.format, runtime)
            if runtime is not None or reader.name not in variant.unproved_in
        ),
        key=lambda reader: order.index(reader.name) if reader.name in order else len(order),
    )
    for reader in list(readers):
        slower = [
            readers.index(other)
            for other in readers
            if other.name in reader.faster_than() and (other.name in order) == (reader.name in order)
        ]
        if slower and min(slower) < readers.index(reader):
            readers.remove(reader)
            readers.insert(min(slower), reader)
    return readers
