"""Opens the model that answers: the runtime that comes first, of those that give the golden outputs here."""

from __future__ import annotations

import logging

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, CheckFailed, PinnaceError
from pinnace.models.open_model import AnsweringModel, open_model
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import variant_for, working_readers
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.self_check import self_check
from pinnace.serving.inference.tuned import untuned
from pinnace.serving.settings import ServerSettings

logger = logging.getLogger("pinnace.serving")


def open_checked(bundle: Bundle, settings: ServerSettings, layout: Layout) -> AnsweringModel:
    """The bundle's model as `models.selection` chooses it, once it gives its golden outputs.

    A runtime that does not load it or does not give them is passed over for the next, unless it was named.
    """
    batch = 1 if settings.max_batch == "auto" else settings.max_batch
    options = RuntimeOptions(layout.threads, settings.device, layout.concurrency, batch)
    named = (settings.variant, settings.runtime) if untuned(settings, bundle) is None else (None, None)
    variant = variant_for(bundle, *named, settings.device)
    readers = working_readers(bundle, variant, named[1], settings.device)
    problems: list[PinnaceError] = []
    names: list[str | None] = [reader.name for reader in readers]
    for name in names or [named[1]]:
        try:
            model = open_model(bundle, variant.name, name, options, settings.threshold)
            try:
                self_check(model)
            except BaseException:
                model.close()
                raise
        except (BundleError, CheckFailed) as error:
            problems.append(error)
        else:
            for problem in problems:
                logger.warning("%s; %s answers instead", problem.message, name)
            return model
    raise problems[0]
