"""Each board is known, says what it draws, and every warning about a machine is raised by one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace.latency import caveats
from pinnace.latency.device.describe import describe
from pinnace.latency.device.monitor import DeviceMonitor
from pinnace.latency.device.power import find
from pinnace.latency.device.sensors import Temperatures
from pinnace.latency.device.sysfs import Sysfs
from support.boards import BOARDS, PI_5, Board, Files, Trouble

Lay = Callable[[Files], Sysfs]


@pytest.mark.parametrize("name", BOARDS)
def test_what_a_board_is(machine: Lay, name: str) -> None:
    board = BOARDS[name]
    info = describe(machine(board.files))
    assert info.name == board.name
    for key, value in board.facts.items():
        assert getattr(info.board, key) == value, key
    assert [caveat.code for caveat in caveats.of_device(info)] == list(board.settings)


@pytest.mark.parametrize("name", BOARDS)
def test_what_a_board_draws(machine: Lay, name: str) -> None:
    board = BOARDS[name]
    sources = find(machine(board.files))
    assert [source.name for source in sources[:1]] == ([board.sensor] if board.sensor else [])
    if board.watts:
        sources[0].begin(0.0)
        assert sources[0].advance(2.0) == pytest.approx(2 * board.watts)


def test_a_sensor_that_measures_nothing_is_left_out(machine: Lay) -> None:
    temperatures = Temperatures(machine(BOARDS["Jetson Nano, JetPack 4"].files))
    assert temperatures.read() == {"AO-therm": 44.5, "CPU-therm": 41.5, "GPU-therm": 39.0}
    temperatures.close()


def watched(board: Board, sysfs: Sysfs, changed: Files) -> list[str]:
    """The codes and messages of the caveats about a measurement in which these files change."""
    info = describe(sysfs)
    monitor = DeviceMonitor(sysfs, interval_s=0.02)
    monitor.start()
    time.sleep(0.07)
    for file, content in changed.items():
        with sysfs.path(file).open("r+") as opened:  # kept open by the monitor, so written in place
            opened.truncate()
            opened.write(content)
    time.sleep(0.1)
    return [f"{each.code}: {each.message}" for each in caveats.of_timeline(info, monitor.stop())]


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        pytest.param(name, trouble, id=f"{name}: {trouble.code} {trouble.words}")
        for name, board in BOARDS.items()
        for trouble in board.troubles
    ],
)
def test_what_befalls_a_board_is_said(machine: Lay, name: str, trouble: Trouble) -> None:
    board = BOARDS[name]
    (caveat,) = watched(board, machine(board.files), trouble.files)
    assert caveat.startswith(f"{trouble.code}: ")
    assert trouble.words in caveat


@pytest.mark.parametrize("name", BOARDS)
def test_a_quiet_board_has_no_warnings(machine: Lay, name: str) -> None:
    board = BOARDS[name]
    assert watched(board, machine(board.files), {}) == []


def test_every_warning_about_a_machine_is_raised() -> None:
    raised = {code for board in BOARDS.values() for code in board.settings}
    raised |= {trouble.code for board in BOARDS.values() for trouble in board.troubles}
    assert raised == {"governor", "battery", "supply", "throttled", "clock-dropped", "other-load"}


def test_without_its_file_a_pi_is_asked_by_its_program(
    machine: Lay, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path_factory.mktemp("programs")
    program = Path(programs / "vcgencmd")
    program.write_text('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x50005\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    bits = next(name for name in PI_5.files if name.endswith("get_throttled"))
    files = {name: text for name, text in PI_5.files.items() if name != bits}
    board = replace(PI_5, files=files)
    sysfs = machine(files)
    assert describe(sysfs).board.since_boot == ("under_voltage", "throttled")  # type: ignore[union-attr]
    (caveat,) = watched(board, sysfs, {})
    assert "under_voltage, throttled" in caveat
    program.write_text("#!/bin/sh\nexit 1\n")
    assert watched(board, sysfs, {}) == []
