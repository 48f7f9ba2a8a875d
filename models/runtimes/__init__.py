"""The runtimes: one module each, found by looking into this folder."""

from __future__ import annotations

from functools import cache

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.errors import BundleError, MissingDependency, UsageError
from pinnace.models.plugins import declared
from pinnace.models.runtimes.base import Runtime, RuntimeOptions


@cache
def all_runtimes() -> dict[str, type[Runtime]]:
    """Every runtime by name, whether or not it works here; the preferred one for a format first."""
    found: list[type[Runtime]] = declared(__name__, __path__, "RUNTIME")
    return {runtime.name: runtime for runtime in sorted(found, key=lambda runtime: runtime.rank)}


def runtimes_for(format: str) -> list[type[Runtime]]:
    """The runtimes that read a format, in order of preference."""
    return [runtime for runtime in all_runtimes().values() if format in runtime.formats]


def readers_for(format: str, runtime: str | None = None) -> list[type[Runtime]]:
    """The runtimes that read a format: the one of that name, or all that need not be asked for by name."""
    readers = runtimes_for(format)
    return [r for r in readers if (not r.opt_in if runtime is None else r.name == runtime)]


def in_order(readers: list[type[Runtime]], order: tuple[str, ...]) -> list[type[Runtime]]:
    """Runtimes in the order that a manifest gives; those that it does not name follow as they were."""
    return sorted(
        readers, key=lambda reader: order.index(reader.name) if reader.name in order else len(order)
    )


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
    readers = in_order(readers_for(variant.format, runtime), bundle.manifest.runtimes)
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
    problems: dict[str, str] = {}
    refused: BundleError | None = None
    for reader in readers:
        problem = reader.unavailable_reason()
        if problem is None:
            reader.check_variant(bundle, variant)
            bundle.check_variant(variant)
            try:
                return reader(
                    bundle.path(variant.file), bundle.manifest.signature, options or RuntimeOptions()
                )
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


def open_bundle(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    options: RuntimeOptions | None = None,
) -> tuple[Variant, Runtime]:
    """Load a variant by name, or the first variant that a runtime of this machine can run.

    Of the runtimes that read it, the first in the manifest's order that works here is taken.

    Raises:
        As `open_variant`.
    """
    chosen = variant_for(bundle, variant, runtime)
    return chosen, open_variant(bundle, chosen, runtime, options)


def variant_for(bundle: Bundle, variant: str | None = None, runtime: str | None = None) -> Variant:
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
        raise UsageError(
            f"{bundle.folder} has no variant for runtime {runtime}",
            expected="one of " + ", ".join(all_runtimes()),
            got=str(runtime),
        )
    for candidate in candidates:
        if any(reader.unavailable_reason() is None for reader in readers_for(candidate.format, runtime)):
            return candidate
    return candidates[0]
