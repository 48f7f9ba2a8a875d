"""A load generator that also counts what the machine draws while it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pinnace.latency.device.energy import Drawn, EnergyMeter
from pinnace.latency.load_generators import LoadGenerator
from pinnace.latency.result_parts import EnergyUse, Samples
from pinnace.latency.scenarios import Plan
from pinnace.latency.subjects.base import Subject
from pinnace.latency.system_under_test import SystemUnderTest

IDLE_S = 3.0


class MeteredLoad:
    """Passes every run on to another load generator, and adds up the energy by subject."""

    def __init__(self, load: LoadGenerator, meter: EnergyMeter) -> None:
        """Measure the idle machine first, for three seconds."""
        self.name = load.name
        self._load, self._meter = load, meter
        self._by_subject: dict[int, tuple[Subject, list[list[Drawn]], int]] = {}
        meter.start()
        time.sleep(IDLE_S)
        self._idle = {each.sensor: each.joules / each.seconds for each in meter.stop()}

    def run(self, plan: Plan, system: SystemUnderTest) -> Samples:
        """Run, and note what was drawn."""
        self._meter.start()
        try:
            return self._load.run(plan, system)
        finally:
            drawn = self._meter.stop()
            subject, runs, images = self._by_subject.get(id(system.subject), (system.subject, [], 0))
            self._by_subject[id(subject)] = subject, [*runs, drawn], images + system.images

    def used_by(self, subject: Subject) -> tuple[EnergyUse, ...]:
        """The energy of all runs of a subject, by sensor; and forget it."""
        _, runs, images = self._by_subject.pop(id(subject), (subject, [], 0))
        if not runs or not images:
            return ()
        return tuple(self._sum(each, images) for each in zip(*runs, strict=True))

    def _sum(self, runs: Sequence[Drawn], images: int) -> EnergyUse:
        joules, seconds = sum(each.joules for each in runs), sum(each.seconds for each in runs)
        first = runs[0]
        idle = self._idle[first.sensor]
        return EnergyUse(
            sensor=first.sensor,
            covers=first.covers,
            joules=round(joules, 6),
            seconds=round(seconds, 3),
            images=images,
            idle_w=round(idle, 4),
            image_j=joules / images,
            image_above_idle_j=(joules - idle * seconds) / images,
            images_a_joule=images / joules if joules > 0 else 0.0,
        )
