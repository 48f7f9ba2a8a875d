"""Which variant and runtime answer: the one rule of `classify`, `bench` and `serve`.

What the caller names comes first, then the profile that `pinnace tune` wrote for this machine, then the order
of the bundle's variants and, for each, of the runtimes in the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.models import profile as profiles
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.profile import Profile
from pinnace.models.runtimes import in_order, readers_for
from pinnace.models.runtimes.base import Runtime


@dataclass(frozen=True)
class RuntimeChoice:
    """What answers.

    Attributes:
        variant: a variant's name, or None for the first that a runtime of this machine can run.
        runtime: a runtime's name, or None for the preferred one.
        profile: where the choice comes from, if it comes from a profile.
        note: a sentence for the user on the profile that is used or is not; None where there is none.
    """

    variant: str | None
    runtime: str | None
    profile: Profile | None = None
    note: str | None = None

    @property
    def device(self) -> str | None:
        """Where, if a profile names another device than the runtime's own."""
        return None if self.profile is None else self.profile.configuration.device


def select(
    bundle: Bundle, variant: str | None = None, runtime: str | None = None, *, use_profile: bool = True
) -> RuntimeChoice:
    """Choose the variant and the runtime of a bundle.

    Args:
        bundle: the bundle.
        variant: what the user named, which leaves the profile out.
        runtime: likewise.
        use_profile: False leaves the profile out too.
    """
    if not use_profile or variant is not None or runtime is not None:
        return RuntimeChoice(variant, runtime)
    found, problem = profiles.find(bundle)
    if found is None:
        note = None if problem is None else f"{problem}; renew it with: pinnace tune {bundle.folder}"
        return RuntimeChoice(None, None, note=note)
    chosen = found.configuration
    note = f"{bundle.name} runs as tuned for this machine: {chosen}; --no-profile leaves that out"
    return RuntimeChoice(chosen.variant, chosen.runtime, found, note)


def working_readers(bundle: Bundle, variant: Variant, runtime: str | None = None) -> Sequence[type[Runtime]]:
    """The runtimes that work here and read a variant, in the order in which they are preferred."""
    readers = in_order(readers_for(variant.format, runtime), bundle.manifest.runtimes)
    return [reader for reader in readers if reader.unavailable_reason() is None]
