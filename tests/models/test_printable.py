"""What a terminal would obey is written out."""

from __future__ import annotations

import pytest

from pinnace.models.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Egyptian cat, \N{GREEK SMALL LETTER PI}", "Egyptian cat, \N{GREEK SMALL LETTER PI}"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("left\N{RIGHT-TO-LEFT OVERRIDE}right", "left\\u202eright"),
    ],
)
def test_only_what_can_be_shown_is(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_kept_stays() -> None:
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"
