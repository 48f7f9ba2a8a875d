"""Runs `pinnace tune`: space, judge, race, servers, each handed to the next."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from pinnace.cli.progress import bars
from pinnace.cli.tune.engines import with_engines
from pinnace.cli.tune.judge import ImageJudge
from pinnace.cli.tune.options import TuneOptions
from pinnace.cli.tune.server import serving
from pinnace.cli.tune.show import watching
from pinnace.latency.device.describe import describe
from pinnace.latency.device.energy import EnergyMeter, open_meter
from pinnace.latency.device.nvidia import open_nvml
from pinnace.latency.device.types import DeviceInfo
from pinnace.latency.openers import check_runtime
from pinnace.latency.tuning.confirm import Confirmation, confirm, finalists
from pinnace.latency.tuning.judgement import Judgement, allowed
from pinnace.latency.tuning.processes import ProcessMeasurer
from pinnace.latency.tuning.race import NOT_RUN, RaceResult, Rules, race
from pinnace.latency.tuning.result import TuneResult
from pinnace.latency.tuning.space import configurations, pairs_of
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.models.photographs import photographs
from pinnace.models.runtimes import all_runtimes
from pinnace.models.uses import require

_MOST_IMAGES = 32  # that are answered in the race; all fit into memory


def tune_bundle(bundle: Bundle, options: TuneOptions, progress: bool | None) -> TuneResult:
    """Tune a bundle for this machine.

    Raises:
        UsageError: an option is wrong, or the bundle neither classifies nor embeds.
        CheckFailed: nothing is within the bounds.
        KeyboardInterrupt: it came before anything was known.
    """
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    rules = Rules(options.objective.value, options.budget_s, options.max_p99, options.seed)
    require("serve", bundle)
    if bundle.outputs.meaning == "embedding" and options.images is not None:
        raise UsageError(
            f"{bundle.name} answers with vectors, and nothing says how exact a vector has to be",
            hint="leave --images out: then what is as exact as fp32 races",
        )
    for name in options.runtime or ():
        check_runtime(name)
    meter = _meter(options)
    exact = options.images is None
    with bars(progress) as show:
        bundle, unbuilt, notes = with_engines(bundle, options.runtime or (), show, exact=exact)
    space = pairs_of(bundle, options.variant or (), options.runtime or (), exact=exact)
    if not space.pairs:
        raise CheckFailed(
            f"nothing of {bundle.name} can race here: "
            + ("; ".join(f"{each.what}: {each.reason}" for each in space.excluded) or "no runtime reads it"),
            hint="pinnace doctor",
        )
    judgements: list[Judgement] = []
    pairs, out = list(space.pairs), [*space.excluded, *unbuilt]
    images = photographs()
    if options.images is not None:
        with bars(progress) as show:
            judge = ImageJudge(bundle, options.images, options.judge_images, options.seed, show)
            judgements = judge(pairs)
        notes += judge.notes
        images = random.Random(options.seed).sample(judge.files, min(_MOST_IMAGES, len(judge.files)))
        pairs, dropped = allowed(judgements, options.max_drop)
        out += dropped
        if not pairs:
            raise CheckFailed(
                f"every variant of {bundle.name} loses more than --max-drop {options.max_drop:g} allows",
                got="; ".join(f"{each.pair}: {each}" for each in judgements),
            )
    candidates = configurations(bundle, pairs, all_runtimes())
    with (
        _ended_by_sigterm(),
        ProcessMeasurer(bundle.folder.absolute(), _absolute(images), meter) as measurer,
        watching(progress, rules.budget_s) as watch,
    ):
        raced = race(candidates, measurer, rules, watch)
    if missed := sum(runner.reason == NOT_RUN for runner in raced.runners):
        words = (
            f"the budget was spent in the first round: {missed} of {len(candidates)} configurations did not"
        )
        notes.append(f"{words} run; a longer --budget, or --variant and --runtime, would let all of them")
    confirmations: list[Confirmation] = []
    if options.confirm and not raced.interrupted:
        confirmations, raced = _confirm(bundle, options, raced, progress)
    return TuneResult(
        bundle=str(bundle.folder),
        version=bundle.version,
        model=bundle.name,
        created=created,
        device=_device(),
        max_drop=options.max_drop,
        judgements=tuple(judgements),
        excluded=tuple(out),
        race=raced,
        confirmations=tuple(confirmations),
        notes=tuple(notes),
    )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, with which a container or another machine ends a race, does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _confirm(
    bundle: Bundle, options: TuneOptions, raced: RaceResult, progress: bool | None
) -> tuple[list[Confirmation], RaceResult]:
    """Ctrl-C ends the confirmation: those that are done stay."""
    done: list[Confirmation] = []
    folder = bundle.folder.absolute()
    try:
        with _ended_by_sigterm(), bars(progress) as show:
            for each in finalists(raced):
                done += confirm(
                    [each], lambda chosen: serving(folder, chosen), options.max_p99, options.seed, show
                )
    except KeyboardInterrupt:
        return done, RaceResult(raced.runners, raced.rounds, raced.seconds, raced.rules, interrupted=True)
    return done, raced


def _meter(options: TuneOptions) -> EnergyMeter | None:
    if options.objective.value != "energy":
        return None
    meter = open_meter(nvml=open_nvml())
    if meter is None:
        raise UsageError(
            "no sensor of this machine says how much power it draws, so nothing can be compared by energy",
            expected="RAPL counters that this user may read, an NVIDIA GPU, or a Jetson",
            hint="choose --objective throughput or latency",
        )
    return meter


def _device() -> DeviceInfo:
    nvml = open_nvml()
    try:
        return describe(nvml=nvml)
    finally:
        if nvml is not None:
            nvml.close()


def _absolute(images: list[Path]) -> list[Path]:
    return [image.absolute() for image in images]
