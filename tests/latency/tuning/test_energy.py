"""Of two configurations, the one that answers more images a joule wins where that is asked for."""

from __future__ import annotations

from pinnace.latency.tuning.race import Rules, race
from pinnace.latency.tuning.trial import Trial
from pinnace.models.profile import Configuration


def test_the_most_images_a_joule_win_and_not_the_most_images_a_second() -> None:
    fast, frugal = Configuration("onnx-fp32", "toy", 2), Configuration("onnx-fp32", "toy", 1)
    watts, speeds = {fast: 30.0, frugal: 10.0}, {fast: 200.0, frugal: 120.0}

    class Drawing:
        def measure(self, configuration: Configuration, turn: int, seconds: float) -> Trial:
            images = round(speeds[configuration] * seconds)
            calls = (1000 / speeds[configuration],) * images
            return Trial(turn, seconds, images, calls, watts[configuration] * seconds)

        def release(self, configuration: Configuration) -> None:
            pass

    for objective, winner in (("throughput", fast), ("energy", frugal)):
        result = race([fast, frugal], Drawing(), Rules(objective=objective))  # type: ignore[arg-type]
        assert result.runners[0].configuration == winner
