"""Write `docs/commands.md` from what the command line says of itself.

    python docs/make_commands.py

A test compares the file with what this script would write.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from typer.models import ArgumentInfo, OptionInfo

from pinnace.cli.group import placeholder
from pinnace.cli.main import command_line
from pinnace.cli.verbs import VERBS

FILE = Path(__file__).with_name("commands.md")

BEGINNING = """\
# Commands

This page is written by `docs/make_commands.py`, from the same declarations as `pinnace --help`.
Do not edit it.

`pinnace VERB --help` shows the same in the terminal. Data goes to standard output, everything else to
standard error. With `--json`, standard output holds one JSON document and nothing else.

| exit status | meaning |
|---|---|
| 0 | good |
| 1 | a check failed: parity, a file's hash; or, where several images were given, one of them |
| 2 | wrong usage, or input that cannot be used |
| 3 | a package is missing; the message has the line that installs it |
| 70 | a fault of Pinnace itself; `pinnace --debug VERB ...` shows the traceback |
| 130 | interrupted |

An error is one sentence. Where it helps, the lines `expected:`, `got:` and `help:` follow.
"""


@dataclass(frozen=True)
class Parameter:
    """One argument or option.

    Attributes:
        names: `--output`, `-o`; the placeholder alone for an argument.
        info: what typer was told of it.
        placeholder: what stands for its value, or the empty string for a flag.
        default: as a reader should see it.
    """

    names: tuple[str, ...]
    info: ArgumentInfo | OptionInfo
    placeholder: str
    default: str

    @property
    def is_argument(self) -> bool:
        """Whether it is given by place and not by name."""
        return isinstance(self.info, ArgumentInfo)

    def row(self) -> str:
        """Its line of the table."""
        names = [f"`{name}`" for name in self.names]
        if self.placeholder and not self.is_argument:
            names[-1] = f"`{self.names[-1]} {self.placeholder}`"
        cells = (", ".join(names), f"{self.info.help or ''}{self._range()}", self.default)
        return "|" + "|".join(f" {cell} ".replace("|", "\\|") if cell else " " for cell in cells) + "|"

    def _range(self) -> str:
        least, most = self.info.min, self.info.max
        if least is not None and most is not None:
            return f" From {least} to {most}."
        return "" if least is None else f" At least {least}."


def render() -> str:
    """The page as Markdown."""
    app = command_line()
    assert app.registered_callback is not None
    root = app.registered_callback.callback
    assert root is not None
    parts = [BEGINNING, "## pinnace\n", f"{app.info.help}\n", _table("option", _parameters(root, {}))]
    for name, verb in VERBS.items():
        module = importlib.import_module(f"pinnace.cli.commands.{name}")
        function = getattr(module, name)
        late_help = getattr(getattr(module, "COMMAND_CLASS", None), "late_help", dict)()
        parameters = list(_parameters(function, late_help))
        parts.append(f"## pinnace {name}\n\n```\n{_usage(name, parameters)}\n```\n")
        parts.append(f"{inspect.getdoc(function)}\n")
        parts.append("```console\n" + "".join(f"$ {example}\n" for example in verb.examples) + "```\n")
        parts.append(_table("argument", [p for p in parameters if p.is_argument]))
        parts.append(_table("option", [p for p in parameters if not p.is_argument]))
    return "\n".join(part for part in parts if part)


def _parameters(function: Callable[..., Any], late_help: Mapping[str, str]) -> Iterator[Parameter]:
    # Not `get_type_hints`: before Python 3.11 it wraps what has the default None once more.
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kind, *extras = get_args(parameter.annotation) or (None,)
        infos = [info for info in extras if isinstance(info, ArgumentInfo | OptionInfo)]
        if not infos:  # typer's context
            continue
        info = copy.copy(infos[0])
        info.help = late_help.get(name, info.help)
        kinds = [part for part in get_args(kind) if part is not NoneType] or [kind]
        value = "" if bool in kinds else info.metavar or placeholder(name, kinds[0])
        names = (value,) if isinstance(info, ArgumentInfo) else _names(name, info)
        yield Parameter(names, info, value, _default(info, parameter.default))


def _names(name: str, info: OptionInfo) -> tuple[str, ...]:
    """`--output`, `-o`; inside `Annotated`, typer keeps the first of them where else the default stands."""
    declared = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
    return tuple(part for each in declared for part in each.split("/")) or (f"--{name.replace('_', '-')}",)


def _default(info: ArgumentInfo | OptionInfo, default: object) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return info.show_default
    return "" if default is None or default is False else f"`{default}`"


def _usage(name: str, parameters: list[Parameter]) -> str:
    words = [p.placeholder for p in parameters if p.is_argument]
    words += [
        f"{p.names[0]} {p.placeholder}" for p in parameters if not p.is_argument and p.default == "required"
    ]
    return " ".join(["pinnace", name, *words, "[OPTIONS]"])


def _table(title: str, parameters: Iterable[Parameter]) -> str:
    rows = [parameter.row() for parameter in parameters]
    return "\n".join([f"| {title} | | default |", "|---|---|---|", *rows]) + "\n" if rows else ""


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
