"""The device and the settings of a report as pairs of a name and what is known, in plain words."""

from __future__ import annotations

from pinnace.latency.device.types import DeviceInfo
from pinnace.latency.report import LatencyReport
from pinnace.latency.result import Result
from pinnace.latency.settings import BenchSettings

Pairs = list[tuple[str, str]]

SCENARIOS = {
    "single-stream": "one query after the other",
    "multi-stream": "several images a query, one query after the other",
    "server": "queries at random moments, as from many users",
    "offline": "all images at once, as fast as possible",
}
TIMED = {
    "infer": "the network alone, with transfers to and from a GPU",
    "end-to-end": "from the encoded image to the answer",
    "http": "a whole request over HTTP, from the moment it was due",
}


def device(info: DeviceInfo) -> Pairs:
    """The machine."""
    cpu, board = info.cpu, info.board
    cpus = f"{cpu.model}, {cpu.available} of {cpu.cpus} CPUs"
    cpus += "" if cpu.quota is None else f" (cgroup quota {cpu.quota:g})"
    clock = f"{cpu.min_mhz:.0f} to {cpu.max_mhz:.0f} MHz" if cpu.min_mhz and cpu.max_mhz else None
    found: list[tuple[str, str | None]] = [
        ("machine", info.name),
        ("CPU", cpus + (", in a virtual machine" if cpu.virtual else "")),
        ("instruction sets", " ".join(cpu.flags)),
        ("governor", cpu.governor),
        ("CPU clock", clock),
        ("memory", None if info.memory_bytes is None else f"{info.memory_bytes / 2**30:.1f} GiB"),
    ]
    if info.on_battery is not None:
        found.append(("supply", "battery" if info.on_battery else "mains"))
    for gpu in info.gpus:
        parts = [
            gpu.name,
            f"{gpu.memory_bytes / 2**30:.0f} GiB" if gpu.memory_bytes else None,
            f"up to {gpu.max_clock_mhz:.0f} MHz" if gpu.max_clock_mhz else None,
            f"limit {gpu.power_limit_w:.0f} W" if gpu.power_limit_w else None,
            f"driver {gpu.driver}" if gpu.driver else None,
        ]
        found.append(("GPU", ", ".join(part for part in parts if part)))
    if board is not None:
        held = {True: "held by jetson_clocks", False: "free (jetson_clocks is off)", None: None}
        l4t = f"L4T {board.l4t}" if board.l4t else None
        found += [
            ("JetPack", ", ".join(part for part in (board.jetpack, l4t) if part)),
            ("power mode", board.power_mode),
            ("clocks", held[board.jetson_clocks]),
        ]
    packages = ", ".join(f"{name} {version}" for name, version in info.packages.items())
    found += [("system", info.system), ("Python", info.python), ("packages", packages)]
    return [(name, value) for name, value in found if value]


def settings(chosen: BenchSettings) -> Pairs:
    """The settings of the bench."""
    found: list[tuple[str, str | None]] = [
        ("target", chosen.target),
        ("measured over", chosen.via),
        ("scenarios", ", ".join(chosen.scenarios)),
        ("at least", f"{chosen.duration_s:g} s and {chosen.min_queries} queries for each row"),
        ("rounds", f"{chosen.rounds}, the rows in alternation" if chosen.rounds > 1 else None),
        ("bound of p99", f"{chosen.max_p99_ms:g} ms" if chosen.max_p99_ms else None),
        ("threads", None if chosen.threads is None else str(chosen.threads)),
        ("batch", str(chosen.batch) if chosen.batch else None),
        ("sweep", "; ".join(f"{name} {', '.join(map(str, each))}" for name, each in chosen.sweep.items())),
        ("accuracy", None if chosen.images is None else f"on {chosen.images}"),
        ("soak", None if chosen.soak_s is None else f"{chosen.soak_s:g} s, the rows one after the other"),
        ("provider", chosen.provider),
        ("seed", str(chosen.seed)),
        ("MLPerf", "its own durations and counts" if chosen.mlperf else None),
    ]
    return [(name, value) for name, value in found if value]


def by_scenario(report: LatencyReport) -> dict[str, list[Result]]:
    """The rows of each scenario, in the report's order."""
    found: dict[str, list[Result]] = {}
    for row in report.results:
        found.setdefault(row.scenario, []).append(row)
    return found


def warnings(report: LatencyReport) -> list[str]:
    """Every warning once, with the rows it is about; those about all of them first and without rows."""
    everywhere = {caveat.message for caveat in report.warnings}
    found: dict[str, list[str]] = {message: [] for message in (caveat.message for caveat in report.warnings)}
    for row in report.results:
        for caveat in row.warnings:
            if caveat.message not in everywhere:
                found.setdefault(caveat.message, []).append(f"{row.row} ({row.scenario})".strip())
    every = {f"{row.row} ({row.scenario})".strip() for row in report.results}
    return [
        message if set(rows) == every or not rows else f"{', '.join(dict.fromkeys(rows))}: {message}"
        for message, rows in found.items()
    ]


def failures(report: LatencyReport) -> list[tuple[str, str, str]]:
    """The rows without figures: row, scenario, why."""
    return [(each.model, each.scenario or "", each.message) for each in report.failures]


def title(report: LatencyReport) -> str:
    """What was measured, and where."""
    if report.settings.suite:
        return f"The {report.settings.suite} suite on {report.device.name}"
    models = ", ".join(dict.fromkeys(row.model for row in report.results)) or report.settings.target
    return f"{models} on {report.device.name}"


def when(report: LatencyReport) -> str:
    """When it was measured, to the minute, and with which version."""
    return f"{report.created[:16].replace('T', ' ')} UTC, pinnace {report.pinnace}"
