"""The error tree: what its docstring draws is what the classes say."""

from __future__ import annotations

import re

import pytest

from pinnace.models import errors
from pinnace.models.errors import CheckFailed, PinnaceError, UsageError, from_dict

ROW = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>\w+) +(?P<exit>\d+) +(?P<http>\d+) +(?P<code>\w+)$")


def drawn() -> list[tuple[int, str, int, int, str]]:
    """(depth, name, exit status, HTTP status, code) of every row of the docstring's tree."""
    rows = [match for line in (errors.__doc__ or "").splitlines() if (match := ROW.match(line))]
    return [
        (len(row["indent"]) // 4, row["name"], int(row["exit"]), int(row["http"]), row["code"])
        for row in rows
    ]


def declared(cls: type[PinnaceError], depth: int = 0) -> list[tuple[int, str, int, int, str]]:
    """The same of a class and everything below it in `errors.py`, in the order of definition."""
    rows = [(depth, cls.__name__, cls.exit_status, cls.http_status, cls.code)]
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            rows += declared(child, depth + 1)
    return rows


TREE = [getattr(errors, name) for _, name, *_ in drawn()]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn() == declared(PinnaceError)


def test_every_http_code_names_one_class_only() -> None:
    codes = [cls.code for cls in TREE]
    assert len(codes) == len(set(codes)) == 10


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_way_through_plain_data(cls: type[PinnaceError]) -> None:
    error = cls("it broke", expected="whole", got="broken", hint="mend it")
    again = from_dict(error.to_dict())
    assert type(again) is cls
    assert again.to_dict() == error.to_dict()
    assert str(again) == str(error) == "it broke\n  expected: whole\n  got: broken\n  help: mend it"


def test_fields_that_are_not_given_are_not_printed() -> None:
    assert str(UsageError("it broke")) == "it broke"
    assert str(UsageError("it broke", got="")) == "it broke\n  got: "


def test_an_error_of_an_unknown_class_becomes_the_root_of_the_tree() -> None:
    error = from_dict({"class": "Elsewhere", "message": "odd", "expected": None, "got": None, "hint": None})
    assert type(error) is PinnaceError
    assert str(error) == "odd"


def test_the_http_body_has_code_message_and_hint() -> None:
    error = CheckFailed("it differs", expected="one", got="two", hint="look")
    assert error.http_body() == {"error": {"code": "check_failed", "message": "it differs", "hint": "look"}}
