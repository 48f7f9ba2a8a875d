"""The bundle's profile as settings: what `pinnace tune` found best, where nothing else is asked for."""

from __future__ import annotations

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.profile import FILE_NAME
from pinnace.models.selection import select
from pinnace.serving.settings import ServerSettings

_OWN_CHOICE = ("variant", "runtime", "device")
# What a profile may set.
TUNED_SETTINGS = ("variant", "runtime", "workers", "threads", "max_batch", "profile")


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
    bundles = [Bundle.open(folder) for folder in settings.bundle]
    if len(bundles) > 1:
        tuned = [bundle.name for bundle in bundles if (bundle.folder / FILE_NAME).is_file()]
        sentence = f"several models share the CPUs, so the profiles of {', '.join(tuned)} are not used"
        return settings, [sentence] if tuned else []
    selection = select(bundles[0])
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
    if "concurrency" in given:
        del values["workers"]
    update = {name: value for name, value in values.items() if name not in given}
    update |= {"variant": chosen.variant, "runtime": chosen.runtime, "profile": False}
    return settings.model_copy(update=update), sentences
