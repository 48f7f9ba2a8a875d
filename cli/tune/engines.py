"""TensorRT engines as candidates: built where they can be, and why not where they cannot."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.export.engines.build import build_unavailable_reason, build_variant, builders, sources
from pinnace.latency.tuning.space import Excluded
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.cache import is_cached
from pinnace.models.bundle.manifest import Variant
from pinnace.models.errors import BundleError, PinnaceError
from pinnace.models.progress import Progress
from pinnace.models.runtimes.tensorrt import TensorRt


def with_engines(
    bundle: Bundle, runtimes: Sequence[str], progress: Progress, *, exact: bool
) -> tuple[Bundle, list[Excluded], list[str]]:
    """Build the engines of this machine that the bundle does not have yet, as `pinnace build` does.

    Args:
        bundle: engines are added to it.
        runtimes: only for these; for all where there are none.
        progress: told how far a build is.
        exact: only from fp32.

    Returns:
        The bundle with its engines, what cannot be built with its reason, and a sentence for each new engine.
    """
    out: list[Excluded] = []
    notes: list[str] = []
    for name, builder in builders().items():
        if runtimes and name not in runtimes:
            continue
        if is_cached(bundle.folder):
            out.append(Excluded(f"engines of {name}", "the bundle is elsewhere, and they would change it"))
            continue
        # One that was built here must run here as well.
        problem = build_unavailable_reason(builder) or builder.unavailable_reason()
        if problem is not None:
            out.append(Excluded(f"engines of {name}", problem))
            continue
        for source in _sources(bundle, exact=exact):
            if _has(bundle, source, builder):
                continue
            try:
                built = build_variant(bundle, source, builder, progress=progress)
            except PinnaceError as error:
                out.append(Excluded(f"an engine of {name} from {source.name}", error.message))
            else:
                notes.append(f"{built.name} was built for this machine and added to {bundle.folder}")
        bundle = Bundle.open(bundle.folder, check_signature=False)
    return bundle, out, notes


def _sources(bundle: Bundle, *, exact: bool) -> list[Variant]:
    try:
        found = sources(bundle, None)
    except PinnaceError:  # no ONNX variant that TensorRT takes
        return []
    return [variant for variant in found if variant.precision == "fp32" or not exact]


def _has(bundle: Bundle, source: Variant, builder: type[TensorRt]) -> bool:
    for variant in bundle.manifest.variants:
        if variant.format in builder.formats and variant.engine and variant.engine.source == source.name:
            try:
                builder.check_variant(bundle, variant)
            except BundleError:  # made on another machine
                return False
            return True
    return False
