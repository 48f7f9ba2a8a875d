"""What typer says of a command that it cannot read, as one of our errors that proposes what was meant."""

from __future__ import annotations

import re
from typing import Any

from pinnace.cli.verbs import VERBS
from pinnace.models.errors import UsageError
from pinnace.models.proposal import proposal

_WRONG_VALUE = re.compile(r"Invalid value for '(?P<option>[^']*)'(?: / '[^']*')*: (?P<reason>.*)", re.DOTALL)
_CHOICE = re.compile(r"(?:Value error, )?'(?P<typed>.*)' is not one of (?P<choices>.*)", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((?P<words>.*)\)", re.DOTALL)
_NO_VALUE = re.compile(r"Option '(?P<option>[^']*)' requires an argument")
_REASONS = (
    (re.compile(r".*valid integer"), "a whole number"),
    (re.compile(r".*valid number|.*valid float"), "a number"),
    (re.compile(r".*less than or equal to (\S+)"), r"at most \1"),
    (re.compile(r".*greater than or equal to (\S+)"), r"at least \1"),
    (re.compile(r".* is not in the range (\S+?)<=x<=(\S+?)\.?$"), r"\1 to \2"),
    (re.compile(r".* is not in the range x>=(\S+?)\.?$"), r"at least \1"),
    (re.compile(r".* is not in the range x<=(\S+?)\.?$"), r"at most \1"),
)


def explain(error: Any) -> UsageError:
    """The error for the user.

    Args:
        error: what typer raises for wrong usage; of `click` or of typer's own copy of it.
    """
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context else "pinnace"
    message = error.format_message().strip().rstrip(".")
    hint = f"{command} --help"
    if (option := getattr(error, "option_name", None)) is not None and message.startswith("No such option"):
        known = [name for each in context.command.params for name in (*each.opts, *each.secondary_opts)]
        return UsageError(f"{command} has no option {option}", hint=_nearest(option, known, hint))
    if message.startswith("No such command"):
        typed = message.removeprefix("No such command ").strip("'\"")
        return UsageError(f"pinnace has no command {typed}", hint=_nearest(typed, [*VERBS], hint, "pinnace "))
    if message.startswith("Missing argument") and (verb := VERBS.get(context.info_name)) is not None:
        needed = error.param.metavar or error.param.name
        return UsageError(f"{command} needs {needed}", hint=f"such as: {verb.examples[0]}")
    if message.startswith("Missing option"):
        return UsageError(f"{command} needs {error.param.opts[0]}", hint=hint)
    if (extra := _EXTRA.match(message)) is not None:
        return UsageError(f"{command} takes no {extra['words']}", hint=hint)
    if (silent := _NO_VALUE.match(message)) is not None:
        return UsageError(f"{silent['option']} needs a value", hint=hint)
    if (wrong := _WRONG_VALUE.match(message)) is not None:
        return _wrong_value(wrong["option"], wrong["reason"], hint)
    return UsageError(message, hint=hint)


def _wrong_value(option: str, reason: str, hint: str) -> UsageError:
    """What an option does not take, without the words of the library that found it."""
    if (choice := _CHOICE.match(reason)) is not None:
        choices = re.findall(r"'([^']*)'", choice["choices"])
        return UsageError(
            f"{option} cannot be {choice['typed']!r}",
            expected="one of " + ", ".join(choices),
            hint=proposal(choice["typed"], choices),
        )
    for pattern, words in _REASONS:
        if (found := pattern.match(reason)) is not None:
            return UsageError(f"{option} has a wrong value", expected=found.expand(words), hint=hint)
    return UsageError(f"{option}: {reason}", hint=hint)


def _nearest(typed: str, known: list[str], otherwise: str, before: str = "") -> str:
    proposed = proposal(typed, known, before)
    return f"{otherwise} lists all" if proposed is None else f"{proposed} {otherwise} lists all"
