"""Who is let in, without a server."""

from __future__ import annotations

import pytest

from pinnace.serving.errors import Overloaded
from pinnace.serving.inference.admission import Admission


def admission(**changes: float) -> Admission:
    return Admission(**{"slots": 2, "queue": 3, "timeout": 10.0, "max_bytes": 100, **changes})  # type: ignore[arg-type]


def test_as_many_as_there_are_slots_and_places() -> None:
    room = admission()
    for _ in range(5):
        room.check()
        room.enter()
    with pytest.raises(Overloaded) as caught:
        room.check()
    assert caught.value.message == "5 images wait or are in work"
    room.leave()
    room.enter()
    with pytest.raises(Overloaded):
        room.enter()
    assert room.images == 5


def test_a_lot_comes_in_whole_or_not_at_all() -> None:
    room = admission()
    room.enter(9)  # more than there is room for, but nothing else is in
    assert room.images == 9
    with pytest.raises(Overloaded):
        room.enter()
    for _ in range(9):
        room.leave()
    room.enter(2)
    with pytest.raises(Overloaded):
        room.enter(4)
    assert room.images == 2


def test_what_would_be_late_is_refused_and_told_when_to_come_again() -> None:
    room = admission(queue=100)
    room.record_duration(2.0)
    room.enter(9)
    room.enter()  # the tenth is done after five rounds of two seconds
    with pytest.raises(Overloaded) as caught:
        room.check()
    message = "10 images wait or are in work, and another would not be answered within 10 s"
    assert (caught.value.message, caught.value.retry_after) == (message, 5)


def test_slow_images_do_not_shut_the_door_for_good() -> None:
    room = admission()
    room.record_duration(1000.0)
    room.check()
    room.enter()
    with pytest.raises(Overloaded) as caught:
        room.check()
    assert caught.value.retry_after == 60


def test_bytes_are_held_until_the_end() -> None:
    room = admission()
    with room.reserved_memory() as hold, room.reserved_memory() as other:
        hold(60)
        other(40)
        with pytest.raises(Overloaded, match="other requests fill the memory"):
            hold(1)
    assert room.bytes == 0
    with room.reserved_memory() as hold:
        hold(100)


def test_once_it_stops_only_what_has_begun_enters() -> None:
    room = admission()
    room.stop()
    room.enter()
    with pytest.raises(Overloaded, match="the server is stopping"):
        room.check()
