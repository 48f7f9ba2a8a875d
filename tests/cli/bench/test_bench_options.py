"""Where the values of a bench come from: the command line, MLPerf, the suite, the defaults."""

from __future__ import annotations

import pytest

from pinnace.cli.bench.options import BenchOptions
from pinnace.latency.suites.suite import Suite, SuiteRow

SUITE = Suite(
    "two networks",
    (SuiteRow("tiny", "torchvision:alexnet@none"),),
    scenarios=("offline", "single-stream"),
    duration_s=3.0,
    min_queries=7,
    rounds=4,
    name="own",
)


def test_without_options_the_defaults_hold() -> None:
    settings = BenchOptions("a.bundle").settings()
    assert (settings.target, settings.suite, settings.scenarios) == ("a.bundle", None, ("single-stream",))
    assert (settings.duration_s, settings.min_queries, settings.rounds) == (10.0, 100, 5)
    assert (settings.batch, settings.threads, settings.max_p99_ms) == (0, None, 100.0)


def test_a_suite_has_values_of_its_own() -> None:
    settings = BenchOptions(suite="own.toml").settings(SUITE)
    assert (settings.target, settings.suite) == ("--suite own.toml", "own")
    assert settings.scenarios == ("offline", "single-stream")
    assert (settings.duration_s, settings.min_queries, settings.rounds) == (3.0, 7, 4)


@pytest.mark.parametrize("suite", [None, SUITE])
@pytest.mark.parametrize("mlperf", [False, True])
def test_what_is_given_comes_first(suite: Suite | None, mlperf: bool) -> None:
    given = BenchOptions(scenario="server", duration=0.5, min_queries=2, rounds=3, batch=8, mlperf=mlperf)
    settings = given.settings(suite)
    assert settings.scenarios == ("server",)
    assert (settings.duration_s, settings.min_queries, settings.rounds) == (0.5, 2, 3)
    assert (settings.batch, settings.mlperf) == (8, mlperf)


@pytest.mark.parametrize(
    ("options", "suite", "min_queries"),
    [
        (BenchOptions("a.bundle", mlperf=True), None, 100),
        (BenchOptions("a.bundle", mlperf=True, scenario="all"), None, 662),
        (BenchOptions(suite="own", mlperf=True), SUITE, 662),
    ],
)
def test_mlperf_has_values_of_its_own(options: BenchOptions, suite: Suite | None, min_queries: int) -> None:
    settings = options.settings(suite)
    assert (settings.duration_s, settings.min_queries, settings.rounds) == (600.0, min_queries, 1)
