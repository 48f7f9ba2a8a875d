"""What a bench opens: each pair of a variant and a runtime that works here, or a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinnace.latency.scenarios import MULTI_STREAM, OFFLINE, SERVER, Scenario
from pinnace.latency.settings import BenchSettings
from pinnace.latency.subjects.base import Subject
from pinnace.latency.subjects.compiled import FROM_SOURCE
from pinnace.latency.subjects.eager import EAGER, EagerTorch
from pinnace.latency.subjects.http import MOST_CONNECTIONS, OFFLINE_CONNECTIONS, HttpSubject
from pinnace.latency.subjects.runtime import RuntimeSubject
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.signature import BATCH
from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import working_readers
from pinnace.models.variant_name import VariantName

ALL = "all"
OFFLINE_BATCH = 8

# A variant, None for the eager network, and the name of a runtime, None for the preferred one.
Pair = tuple[Variant | None, str | None]


@dataclass(frozen=True)
class Opener:
    """Opens one subject for a scenario.

    Attributes:
        name: of the row, before it is open.
        open: opens it.
        optional: whether it is there because everything was asked for; then that it cannot be opened is a
            caveat and no failure.
    """

    name: str
    open: Callable[[Scenario], Subject]
    optional: bool = False


def check_runtime(runtime: str | None) -> None:
    """Check a `--runtime`: a name, `all`, or None.

    Raises:
        UsageError: it is another word.
    """
    if runtime not in (None, ALL, *all_runtimes()):
        expected = "one of " + ", ".join((*all_runtimes(), ALL))
        raise UsageError(f"there is no runtime {runtime}", expected=expected)


def pairs_of(bundle: Bundle, variant: str | None, runtime: str | None, device: str | None) -> list[Pair]:
    """The rows of a bundle: the preferred one, or every pair that works here with `all`.

    Args:
        bundle: the bundle.
        variant: a name, `eager`, `all`, or None for the first that runs here.
        runtime: a name, `all`, or None for the preferred one.
        device: `cpu`, `cuda`, `gpu`, `npu` or `auto`, or None for each runtime's own.

    Raises:
        UsageError: the variant or the runtime is unknown.
        MissingDependency: none of them works here.
    """
    check_runtime(runtime)
    pairs: list[Pair] = []
    variants: tuple[Variant, ...] = ()
    if variant in (None, ALL):
        variants = bundle.manifest.variants
    elif variant != EAGER:
        variants = (bundle.variant(variant),)
    for each in variants:
        named = None if runtime == ALL else runtime
        names = [reader.name for reader in working_readers(bundle, each, named, device)]
        # Without a name the rule chooses, which also takes the next where the first does not load the file.
        pairs += [(each, None)] if names and runtime is None else [(each, name) for name in names]
        if pairs and variant is None:
            break
    everything = (variant, runtime) == (ALL, ALL)
    if (variant == EAGER and runtime in (None, ALL)) or (everything and not EagerTorch.unavailable_reason()):
        pairs.append((None, EagerTorch.name))
    if not pairs:
        wanted = " in ".join(name for name in (variant or "any variant", runtime) if name)
        raise MissingDependency(
            f"nothing on this machine can run {wanted} of {bundle.name}", hint="pinnace doctor"
        )
    return pairs


def bundle_openers(
    bundle: Bundle, variant: str | None, runtime: str | None, options: RuntimeOptions, settings: BenchSettings
) -> list[Opener]:
    """What opens the rows of a bundle.

    Args:
        bundle: the bundle.
        variant: see `pairs_of`.
        runtime: likewise.
        options: threads and device.
        settings: batch and what is timed.

    Raises:
        UsageError, MissingDependency: see `pairs_of`.
    """
    everything = (variant, runtime) == (ALL, ALL)

    def opener(each: Variant | None, name: str | None) -> Opener:
        def open_it(scenario: Scenario) -> Subject:
            batch = batch_of(bundle, scenario, settings.batch)
            subject = RuntimeSubject(bundle, each, name, options, batch=batch, end_to_end=settings.end_to_end)
            subject.prepare(batch)
            return subject

        row = " ".join(filter(None, (EAGER if each is None else each.name, name)))
        return Opener(row, open_it, optional=everything and each is None)

    return [opener(each, name) for each, name in pairs_of(bundle, variant, runtime, options.device)]


def static_openers(bundle: Bundle, options: RuntimeOptions, settings: BenchSettings) -> list[Opener]:
    """What opens the network in eager torch and in every static form, those of the bundle where it has them.

    What cannot be had here is a caveat that says why.
    """
    names = {variant.name for variant in bundle.manifest.variants}

    def opener(name: str, way: str | None) -> Opener:
        def open_it(scenario: Scenario) -> Subject:
            if way is None and name not in names:
                wanted = VariantName.parse(name).format
                raise UsageError(f"{bundle.name} has no variant {name}: export it with --format {wanted}")
            batch = batch_of(bundle, scenario, settings.batch)
            variant = bundle.variant(name) if way is None else None
            subject = RuntimeSubject(
                bundle, variant, way, options, batch=batch, end_to_end=settings.end_to_end
            )
            subject.prepare(batch)
            return subject

        return Opener(name, open_it, optional=True)

    eager, compiled, exported, ahead = FROM_SOURCE
    return [
        opener(EAGER, eager),
        opener("torchscript-fp32", None),
        opener(compiled, compiled),
        opener("pt2-fp32", None) if "pt2-fp32" in names else opener(exported, exported),
        opener("pt2-aoti", None) if "pt2-aoti" in names else opener(ahead, ahead),
        opener("onnx-fp32", None),
    ]


def server_openers(url: str, api_key: str | None) -> list[Opener]:
    """What opens the one row of a server."""

    def open_it(scenario: Scenario) -> Subject:
        most = {SERVER: MOST_CONNECTIONS, OFFLINE: OFFLINE_CONNECTIONS}.get(scenario, scenario.samples)
        return HttpSubject(url, api_key, at_once=most)

    return [Opener(url, open_it)]


def batch_of(bundle: Bundle, scenario: Scenario, requested: int) -> int:
    """Images of one call under a scenario, where so many were asked for; 0 is the scenario's own."""
    fixed = bundle.manifest.signature.batch
    if requested or fixed != BATCH:
        return requested or (fixed if isinstance(fixed, int) else 1)
    if scenario in (MULTI_STREAM, OFFLINE):
        return min(OFFLINE_BATCH, bundle.manifest.batch[1])
    return 1
