"""`pinnace` and its verbs as typer's commands: a verb is imported when it is named, and helps in words."""

from __future__ import annotations

import importlib
import re
from enum import Enum
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from pinnace.cli.bundles import pulled
from pinnace.cli.verbs import VERBS

_RANGES = (
    (re.compile(r"(\S+?)<=x<=(\S+?)(?=[;\]])"), r"\1 to \2"),
    (re.compile(r"\bx>=(\S+?)(?=[;\]])"), r"at least \1"),
    (re.compile(r"\bx<=(\S+?)(?=[;\]])"), r"at most \1"),
)
_TYPE = re.compile(r" <[^<>]*>$")
_TO_GET_STARTED = """\
To get started:
  pinnace quickstart

Or, step by step:
  pinnace export efficientnet_lite0 -o efficientnet_lite0.bundle
  pinnace serve efficientnet_lite0.bundle
  pinnace classify photo.jpg --url http://localhost:3000

pinnace COMMAND --help has the options and an example of each.
"""


def placeholder(name: str, kind: Any) -> str:
    """What stands for the value of an option in the help.

    Args:
        name: the option's, such as `max_p99`.
        kind: the type of its values.
    """
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return {int: "N", float: "X"}.get(kind, name.upper().replace("_", "-"))


def _kind(parameter: Any) -> Any:
    """The type of a parameter's values, from typer or, before its version 0.20, from click."""
    if hasattr(parameter, "type_descriptor"):
        return parameter.type_descriptor.annotation
    kind = parameter.type
    if choices := getattr(kind, "choices", None):
        return Enum("Choices", {str(each): getattr(each, "value", each) for each in choices})
    return {"integer": int, "float": float}.get(kind.name.removesuffix(" range"), str)


class VerbCommand(TyperCommand):
    """A verb, whose help says types and ranges in words and ends in examples."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for parameter in self.params:
            if not parameter.metavar and not getattr(parameter, "is_flag", False):
                parameter.metavar = placeholder(parameter.name or "", _kind(parameter))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the bundles of it that are elsewhere are pulled first."""
        for name, value in ctx.params.items():
            ctx.params[name] = pulled(value, ctx.params.get("progress"))
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the usage line, with one `...` where there may be several."""
        pieces = super().collect_usage_pieces(ctx)
        return [re.sub(r"[{}]", "", piece).replace("......", "...") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, as people say it."""
        write = formatter.write_dl
        formatter.write_dl = lambda rows, *more, **named: write(
            [(_TYPE.sub("", name), _in_words(text)) for name, text in rows], *more, **named
        )
        super().format_options(ctx, formatter)
        formatter.write_dl = write

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        examples = VERBS[self.name].examples if self.name in VERBS else ()
        if examples:
            with formatter.section("Examples" if len(examples) > 1 else "Example"):
                formatter.write("".join(f"  {example}\n" for example in examples))


def _in_words(text: str) -> str:
    before, bracket, extra = text.rpartition("  [")
    if not bracket and not text.startswith("["):
        return text
    extra = re.sub(r"^default: \((.*?)\)(?=[;\]])", r"default: \1", extra)
    for written, spoken in _RANGES:
        extra = written.sub(spoken, extra)
    return before + bracket + extra


@cache
def verb(name: str) -> TyperCommand:
    """The command of a verb, whose module is imported."""
    module = importlib.import_module(f"pinnace.cli.commands.{name}")
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.command(name=name, cls=getattr(module, "COMMAND_CLASS", VerbCommand))(getattr(module, name))
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand)
    return made


class Verbs(TyperGroup):
    """All verbs."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of this name, or None."""
        return verb(cmd_name) if cmd_name in VERBS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.summary) for name, each in VERBS.items()])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the first commands to type."""
        formatter.write_paragraph()
        formatter.write(_TO_GET_STARTED)
