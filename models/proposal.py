"""What was meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def proposal(typed: str, known: Iterable[str], before: str = "", *, cutoff: float = 0.6) -> str | None:
    """The question `did you mean NAME?`, for the name that is spelt most like the one that was typed.

    Args:
        typed: what is not known.
        known: what is.
        before: what stands before the name in the question.
        cutoff: how much alike they have to be, from 0 to 1; see `difflib.get_close_matches`.

    Returns:
        None where none is alike. A name of which a part was typed is alike, where it is the only one.
    """
    names = list(known)
    holding = [name for name in names if typed and typed in name]
    found = holding if len(holding) == 1 else get_close_matches(typed, names, n=1, cutoff=cutoff)
    return f"did you mean {before}{found[0]}?" if found else None
