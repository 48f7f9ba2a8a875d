"""Reads a tuning that was saved as JSON, such as the one that comes back from a device."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from pinnace.latency.device.types import DeviceInfo
from pinnace.latency.tuning.confirm import Confirmation
from pinnace.latency.tuning.judgement import Judgement
from pinnace.latency.tuning.race import RaceResult, Rules, Runner
from pinnace.latency.tuning.result import TuneResult
from pinnace.latency.tuning.space import Excluded
from pinnace.latency.tuning.trial import Trial
from pinnace.models.errors import UsageError
from pinnace.models.profile import Configuration

_JSON: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_OF_A_RUNNER = ("reason", "ratio", "interval", "within_bound")
_OF_A_CONFIGURATION = ("variant", "runtime", "threads", "processes", "batch", "device")


def parse(data: bytes, where: str) -> TuneResult:
    """What `TuneResult.to_json` wrote.

    Args:
        data: the bytes.
        where: what messages call it.

    Raises:
        UsageError: it is something else.
    """
    try:
        return _result(_JSON.validate_json(data))
    except (ValidationError, KeyError, TypeError) as error:
        raise UsageError(
            f"{where} is not a report of pinnace tune", got=str(error).partition("\n")[0]
        ) from None


def _result(data: dict[str, Any]) -> TuneResult:
    rules = {name: value for name, value in data["rules"].items() if name != "max_drop"}
    race = RaceResult(
        tuple(_runner(row) for row in data["configurations"]),
        data["rounds"],
        data["seconds"],
        TypeAdapter(Rules).validate_python(rules),
        data["interrupted"],
    )
    # A rate or a percentile that is infinite has no JSON.
    confirmations = [
        each | {"p99_ms": float("inf") if each["p99_ms"] is None else each["p99_ms"]}
        for each in data["confirmations"]
    ]
    return TuneResult(
        bundle=data["bundle"],
        version=data["version"],
        model=data["model"],
        created=data["created"],
        device=TypeAdapter(DeviceInfo).validate_python(data["device"]),
        max_drop=data["rules"]["max_drop"],
        judgements=TypeAdapter(tuple[Judgement, ...]).validate_python(data["judgements"]),
        excluded=TypeAdapter(tuple[Excluded, ...]).validate_python(data["excluded"]),
        race=race,
        confirmations=TypeAdapter(tuple[Confirmation, ...]).validate_python(confirmations),
        notes=tuple(data["notes"]),
    )


def _runner(row: dict[str, Any]) -> Runner:
    configuration = {name: row[name] for name in _OF_A_CONFIGURATION}
    return TypeAdapter(Runner).validate_python(
        {
            "configuration": TypeAdapter(Configuration).validate_python(configuration),
            "trials": TypeAdapter(list[Trial]).validate_python(row.get("trials", [])),
            **{name: row[name] for name in _OF_A_RUNNER},
        }
    )
