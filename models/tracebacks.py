"""What an exception keeps alive: the frames that it came through, with every variable in them."""

from __future__ import annotations

import traceback


def release_frames(error: BaseException) -> None:
    """Empty the finished frames of an exception and of those behind it; it can still be printed.

    An exception that is stored, as a future does it, makes a cycle with the frame that stored it. What that
    frame and those below it hold, a decoded picture say, would stay until Python's collector happens to run.
    The frame that calls this is still running, and has to delete its own variables.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        pending += [one.__cause__, one.__context__]
