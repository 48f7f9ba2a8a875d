"""MLPerf's four scenarios, and the plan of one run."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.errors import UsageError


@dataclass(frozen=True)
class Scenario:
    """How queries arrive.

    Attributes:
        name: as `--scenario` takes it.
        mlperf: as LoadGen calls it.
        samples: samples of one query.
        min_queries: fewest queries of MLPerf's rules.
    """

    name: str
    mlperf: str
    samples: int
    min_queries: int


SINGLE_STREAM = Scenario("single-stream", "SingleStream", 1, 100)
MULTI_STREAM = Scenario("multi-stream", "MultiStream", 8, 662)
SERVER = Scenario("server", "Server", 1, 100)
OFFLINE = Scenario("offline", "Offline", 1, 1)
ALL = {each.name: each for each in (SINGLE_STREAM, MULTI_STREAM, SERVER, OFFLINE)}

MLPERF_SECONDS = 600.0
MLPERF_OFFLINE_SAMPLES = 24576


def parse(text: str) -> tuple[Scenario, ...]:
    """Scenarios from names with commas between them, or `all`.

    Raises:
        UsageError: a name is unknown.
    """
    names = list(ALL) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ALL:
            raise UsageError(
                "there is no such scenario", expected="one of " + ", ".join([*ALL, "all"]), got=name
            )
    return tuple(ALL[name] for name in dict.fromkeys(names))


@dataclass(frozen=True)
class Plan:
    """What a load generator is to do in one run.

    Attributes:
        scenario: how queries arrive.
        seconds: shortest duration.
        min_queries: fewest queries.
        seed: of the order of inputs and of the arrivals.
        library: how many inputs there are.
        expected_s: about how long a query takes.
        rate: queries a second, of the server scenario.
        samples: samples in all, of the offline scenario.
        mlperf: whether the seeds are MLPerf's own.
    """

    scenario: Scenario
    seconds: float
    min_queries: int
    seed: int
    library: int
    expected_s: float
    rate: float = 0.0
    samples: int = 0
    mlperf: bool = False
