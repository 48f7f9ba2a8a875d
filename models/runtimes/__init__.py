"""The runtimes: one module each, found by looking into this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from pinnace.models.bundle import Bundle
from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.manifest import Variant
from pinnace.models.runtimes.base import Runtime, RuntimeOptions


@cache
def all_runtimes() -> dict[str, type[Runtime]]:
    """Every runtime by name, whether or not it works here; the preferred one for a format first."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        runtime = getattr(importlib.import_module(f"{__name__}.{module.name}"), "RUNTIME", None)
        if runtime is not None:
            found.append(runtime)
    return {runtime.name: runtime for runtime in sorted(found, key=lambda runtime: runtime.rank)}


def runtimes_for(format: str) -> list[type[Runtime]]:
    """The runtimes that read a format, in order of preference."""
    return [runtime for runtime in all_runtimes().values() if format in runtime.formats]


def open_variant(
    bundle: Bundle,
    variant: Variant,
    runtime: str | None = None,
    options: RuntimeOptions | None = None,
) -> Runtime:
    """Check a variant's hash and load it.

    Args:
        bundle: the bundle it belongs to.
        variant: which variant.
        runtime: the name of a runtime, or None for the first that works here.
        options: threads and device.

    Raises:
        UsageError: no such runtime, or it does not read this format.
        MissingDependency: the runtime's package is not installed.
        CheckFailed: the file is not what was exported.
    """
    readers = runtimes_for(variant.format)
    if runtime is not None:
        readers = [reader for reader in readers if reader.name == runtime]
        if not readers:
            raise UsageError(
                f"runtime {runtime} cannot run {variant.name}",
                expected="one of " + ", ".join(reader.name for reader in runtimes_for(variant.format)),
                got=runtime,
            )
    problems = {reader.name: reader.problem() for reader in readers}
    usable = [reader for reader in readers if problems[reader.name] is None]
    if not usable:
        raise MissingDependency(
            f"no runtime on this machine can run {variant.name}: "
            + "; ".join(f"{name}: {problem}" for name, problem in problems.items()),
            hint=f"install one with: {readers[0].install_line}" if readers else None,
        )
    bundle.check_file(variant.file)
    return usable[0](bundle.path(variant.file), bundle.manifest.signature, options or RuntimeOptions())


def open_bundle(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    options: RuntimeOptions | None = None,
) -> tuple[Variant, Runtime]:
    """Load a variant by name, or the first variant that a runtime of this machine can run.

    Raises:
        As `open_variant`.
    """
    if variant is not None:
        chosen = bundle.variant(variant)
        return chosen, open_variant(bundle, chosen, runtime, options)
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
        readers = [r for r in runtimes_for(candidate.format) if runtime in (None, r.name)]
        if any(reader.problem() is None for reader in readers):
            return candidate, open_variant(bundle, candidate, runtime, options)
    return candidates[0], open_variant(bundle, candidates[0], runtime, options)
