"""Selects the fastest runtime by measuring, where several can serve a bundle and the settings name none.

Chosen once, before the workers start, so that all of them answer with the same. The first in the order of
preference is taken unless another is clearly faster.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import PinnaceError
from pinnace.models.open_model import AnsweringModel, open_model
from pinnace.models.runtimes import readers_for, variant_for
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import working_readers
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.self_check import self_check
from pinnace.serving.inference.tuned import still_tuned
from pinnace.serving.settings import ServerSettings

VARIABLE = "PINNACE_CHOSEN_RUNTIMES"

_SECONDS = 0.5
_MOST_ROUNDS = 20
_CLEARLY = 0.9

Timer = Callable[[list[AnsweringModel]], list[float]]


def select_runtimes(settings: ServerSettings, layout: Layout) -> list[str]:
    """Measure every bundle, and put the result into the environment, which the workers inherit.

    Returns:
        A sentence for each choice that was made.
    """
    chosen, sentences = {}, []
    if settings.runtime is None and settings.device != "cuda":
        for folder in settings.bundle:
            # Errors in a bundle are reported when it is opened to be served.
            with contextlib.suppress(PinnaceError):
                bundle = Bundle.open(folder)
                if (choice := fastest_runtime(settings, layout, bundle)) is not None:
                    chosen[str(bundle.folder)], sentence = choice
                    sentences.append(sentence)
    os.environ[VARIABLE] = json.dumps(chosen)
    return sentences


def selected_runtime(settings: ServerSettings, bundle: Bundle) -> tuple[str | None, str | None]:
    """The variant and the runtime, from the settings or the measurement; None means the first that works."""
    if not still_tuned(settings, bundle):
        return None, None
    name = json.loads(os.environ.get(VARIABLE, "{}")).get(str(bundle.folder))
    if settings.runtime is not None or name is None:
        return settings.variant, settings.runtime
    variant = variant_for(bundle, settings.variant)
    readable = name in (reader.name for reader in readers_for(variant.format))
    return (variant.name, name) if readable else (settings.variant, None)


def fastest_runtime(
    settings: ServerSettings, layout: Layout, bundle: Bundle, timer: Timer | None = None
) -> tuple[str, str] | None:
    """The runtime that answers fastest, of those that run the bundle's variant on this machine's CPU.

    Args:
        settings: which variant.
        layout: how many threads.
        bundle: what is to be served.
        timer: gives the milliseconds of a call of each model; measured by default.

    Returns:
        Its name, and a sentence about the measurement; None where fewer than two runtimes can serve it.

    Raises:
        UsageError: the bundle has no such variant.
    """
    candidates = _candidates(settings, layout, bundle)
    try:
        if len(candidates) < 2:
            return None
        times = (timer or measure_milliseconds)(candidates)
        names = [model.runtime.name for model in candidates]
    finally:
        for model in candidates:
            model.close()
    best = names[0] if _CLEARLY * times[0] <= min(times) else names[times.index(min(times))]
    measured = ", ".join(f"{name} {each:.2f}" for name, each in zip(names, times, strict=True))
    return best, f"{bundle.name} runs in {best}; milliseconds of a call: {measured}"


def _candidates(settings: ServerSettings, layout: Layout, bundle: Bundle) -> list[AnsweringModel]:
    options = RuntimeOptions(layout.threads, settings.device, layout.concurrency)
    variant = variant_for(bundle, settings.variant)
    readers = working_readers(bundle, variant)
    if len(readers) < 2 or any(reader.devices[0] != "cpu" for reader in readers):
        return []
    opened = [_opened(bundle, variant.name, reader.name, options) for reader in readers]
    return [model for model in opened if model is not None]


def _opened(bundle: Bundle, variant: str, runtime: str, options: RuntimeOptions) -> AnsweringModel | None:
    """A model that passes the self-check; None where it cannot be opened or does not."""
    try:
        model = open_model(bundle, variant, runtime, options)
    except PinnaceError:
        return None
    try:
        self_check(model)
    except PinnaceError:
        model.close()
        return None
    return model


def measure_milliseconds(candidates: list[AnsweringModel]) -> list[float]:
    """The shortest call of each, in turns, so that what else goes on hits all alike."""
    best = [math.inf] * len(candidates)
    for model in candidates:
        model.warm_up()
    end = time.perf_counter() + _SECONDS * len(candidates)
    for _ in range(_MOST_ROUNDS):
        for number, model in enumerate(candidates):
            started = time.perf_counter()
            model.warm_up(runs=1)
            best[number] = min(best[number], 1000 * (time.perf_counter() - started))
        if time.perf_counter() > end:
            break
    return best
