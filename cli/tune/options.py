"""The options of `pinnace tune`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pinnace.cli.options import DeviceOption, DevicePythonOption, InstallOption
from pinnace.models.errors import UsageError

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class ObjectiveName(str, Enum):
    """What is to be best."""

    throughput = "throughput"
    latency = "latency"
    energy = "energy"


@dataclass(frozen=True)
class TuneOptions:
    """What the command line says; None where it says nothing."""

    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Photographs to judge accuracy by: one folder for each class, as for `pinnace eval`, or "
            "without labels. Without them only what is as exact as fp32 races.",
            show_default=False,
        ),
    ] = None
    judge_images: Annotated[
        int, typer.Option(min=1, help="Most images to judge by; where there are more, so many are drawn.")
    ] = 1000
    max_p99: Annotated[
        float,
        typer.Option(min=0.001, help="Bound of the 99th percentile, in milliseconds.", metavar="MS"),
    ] = 100.0
    max_drop: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            help="Most points of top-1 to lose against fp32; without labels, of first classes that differ.",
            metavar="POINTS",
        ),
    ] = 1.0
    objective: Annotated[
        ObjectiveName,
        typer.Option(help="What is to be best: images a second, the time of one image, images a joule."),
    ] = ObjectiveName.throughput
    budget: Annotated[str, typer.Option(help="Time for the race, such as 90s, 5m or 1h.", metavar="TIME")] = (
        "5m"
    )
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant; repeatable.", show_default="all")
    ] = None
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="Only in this runtime; repeatable.", show_default="all that work here"),
    ] = None
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm/--no-confirm",
            help="Confirm the finalists on a real server, about a minute for each of three at most.",
        ),
    ] = True
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of the rounds and of the arrivals.")] = 1
    device: DeviceOption = None
    device_python: DevicePythonOption = None
    install: InstallOption = False
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a report: .html, or .json with every sample; repeatable.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None

    @property
    def budget_s(self) -> float:
        """The budget in seconds.

        Raises:
            UsageError: it is not a time.
        """
        found = _BUDGET.fullmatch(self.budget.strip().lower())
        seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else 0.0
        if not seconds:
            raise UsageError("--budget is not a time", expected="such as 90s, 5m or 1h", got=self.budget)
        return seconds
