"""Calls that have to be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

from pinnace.models.errors import PinnaceError

E = TypeVar("E", bound=PinnaceError)
P = ParamSpec("P")


def error_of(kind: type[E], act: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> E:
    """The error that a call raises, of this class or of one derived from it."""
    with pytest.raises(kind) as caught:
        act(*args, **kwargs)
    return caught.value


def refusal(kind: type[E], act: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> str:
    """The message of the error that a call raises, which has to be of exactly this class."""
    error = error_of(kind, act, *args, **kwargs)
    assert type(error) is kind
    return str(error)
