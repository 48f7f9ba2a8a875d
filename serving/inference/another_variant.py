"""A second variant of a bundle that is served, under a name of its own: fp32 and int8 side by side."""

from __future__ import annotations

import dataclasses

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.runtimes import readers_for
from pinnace.serving.settings import ServerSettings


def name_beside(bundle: Bundle, variant: str | None) -> str:
    """The name under which a variant answers beside the one that is chosen; the model's own without one."""
    return bundle.name if variant is None else f"{bundle.name}@{variant}"


def beside_it(bundle: Bundle, settings: ServerSettings, variant: str) -> tuple[Bundle, ServerSettings]:
    """The bundle under the other name, and settings that choose the variant.

    The runtime of the settings is kept where it reads the variant: it may be that of a profile, or of a
    variant of another format.
    """
    named = dataclasses.replace(bundle.manifest, name=name_beside(bundle, variant))
    formats = [each.format for each in bundle.manifest.variants if each.name == variant]
    reads = bool(formats) and bool(readers_for(formats[0], settings.runtime))
    chosen = {"variant": variant, "runtime": settings.runtime if reads else None}
    return dataclasses.replace(bundle, manifest=named), settings.model_copy(update=chosen)
