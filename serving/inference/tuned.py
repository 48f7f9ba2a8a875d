"""The bundle's profile as settings: what `pinnace tune` found best, where nothing else is asked for."""

from __future__ import annotations

import os

from pinnace.models import profile as profiles
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.runtimes import readers_for
from pinnace.models.selection import select
from pinnace.serving.settings import PREFIX, ServerSettings, environment_variable

_OWN_CHOICE = ("variant", "runtime")
# What a profile may set.
_TUNED_SETTINGS = ("variant", "runtime", "device", "workers", "threads", "max_batch", "profile")
# Tells the workers, which get these settings by the environment, that they come from a profile.
_FROM_PROFILE = f"{PREFIX}TUNED"


def with_profile(settings: ServerSettings) -> tuple[ServerSettings, list[str]]:
    """The settings with the profile's values, and a sentence for each profile that is used or is not.

    A setting that is given comes before the profile's value. `profile` is False in what is returned, so that
    another process that is given these settings does not read the profile again.

    Raises:
        BundleError: there is no bundle.
    """
    given = settings.model_fields_set
    if not settings.profile or any(getattr(settings, name) is not None for name in _OWN_CHOICE):
        return settings, []
    bundles = [Bundle.open(folder) for folder in settings.folders]
    if len(bundles) > 1:
        tuned = [bundle.name for bundle in bundles if profiles.files(bundle.folder)]
        sentence = f"several models share the CPUs, so the profiles of {', '.join(tuned)} are not used"
        return settings, [sentence] if tuned else []
    selection = select(bundles[0], device=settings.device)
    sentences = [selection.note] if selection.note is not None else []
    if selection.profile is None:
        return settings.model_copy(update={"profile": False}), sentences
    chosen = selection.profile.configuration
    values: dict[str, object]
    values = {
        "workers": chosen.processes,
        "threads": chosen.threads,
        "max_batch": chosen.batch,
    }
    if chosen.device is not None:
        values["device"] = chosen.device
    if "concurrency" in given:
        del values["workers"]
    update = {name: value for name, value in values.items() if name not in given}
    update |= {"variant": chosen.variant, "runtime": chosen.runtime, "profile": False}
    return settings.model_copy(update=update), sentences


def pass_on(tuned: ServerSettings, before: ServerSettings) -> None:
    """Put what a profile changed into the environment: workers that start later must not read it anew."""
    if tuned is before:
        return
    for name in _TUNED_SETTINGS:
        value = getattr(tuned, name)
        os.environ[environment_variable(name)] = "" if value is None else str(value)
    os.environ[_FROM_PROFILE] = "1" if tuned.variant is not None else ""


def untuned(settings: ServerSettings, bundle: Bundle) -> str | None:
    """A sentence where a bundle that was put in the place of another lacks what the profile named, or None.

    None also where variant and runtime do not come from a profile.
    """
    if not os.environ.get(_FROM_PROFILE) or settings.variant is None:
        return None
    formats = [each.format for each in bundle.manifest.variants if each.name == settings.variant]
    if formats and readers_for(formats[0], settings.runtime):
        return None
    return (
        f"{bundle.name} goes on without its profile: version {bundle.version} has no {settings.variant} in "
        f"{settings.runtime}; renew it with: pinnace tune {bundle.folder}"
    )
