"""The command line: the commands of `pinnace`, and how errors become messages and exit statuses."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from pinnace.cli.console import out, print_error
from pinnace.cli.exit_status import INTERNAL_ERROR, INTERRUPTED
from pinnace.cli.standard_streams import discard_output, prepare_streams
from pinnace.models.errors import PinnaceError, UsageError

# Newer versions of typer bring their own copy of click, so its errors are reached through typer.
_WRONG_USAGE: Any = typer.BadParameter.__mro__[2]


# In the order of `pinnace --help`. Each is a function of its module in `pinnace.cli.commands`.
COMMANDS = (
    *("export", "build", "verify", "eval", "bench", "tune", "compare", "report", "sign"),
    *("serve", "package", "classify", "embed", "inspect", "models", "targets", "doctor"),
)


def command_line(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands: what each imports takes longer than what most of them do."""
    app = typer.Typer(
        name="pinnace",
        help="Carry a trained image model from its checkpoint to the place where it answers.",
        no_args_is_help=False,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for command in commands:
        module = importlib.import_module(f"pinnace.cli.commands.{command}")
        app.command(cls=getattr(module, "COMMAND_CLASS", None))(getattr(module, command))
    return app


def _needed(arguments: Sequence[str]) -> Iterable[str]:
    """The command that is named, where one is; all of them for the help and for a name that is none."""
    for argument in arguments:
        if argument in COMMANDS:
            return [argument]
        if argument != "--debug":
            break
    return COMMANDS


_GETTING_STARTED = """Pinnace carries a trained image model from its checkpoint to the place where it answers.

To get started:
  pinnace export efficientnet_lite0 -o efficientnet_lite0.bundle
  pinnace serve efficientnet_lite0.bundle
  pinnace classify photo.jpg --url http://localhost:3000

pinnace --help lists all commands."""


def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if debug:
        os.environ["PINNACE_DEBUG"] = "1"
    if version:
        from importlib.metadata import version as installed

        out().print(installed("pinnace"))
    elif context.invoked_subcommand is None:
        out().print(_GETTING_STARTED)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    prepare_streams()
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        app = command_line(_needed(sys.argv[1:] if arguments is None else arguments))
        status = app(arguments, prog_name="pinnace", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except _WRONG_USAGE as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "pinnace"
        return _fail(UsageError(error.format_message().strip().rstrip("."), hint=f"{command} --help"))
    except PinnaceError as error:
        return _fail(error)
    except BrokenPipeError:
        # Whatever read the output has closed it, as `head` does.
        discard_output()
        return 1
    except Exception as error:
        if _debug():
            raise
        internal = PinnaceError(
            f"internal error: {type(error).__name__}: {error}",
            hint="run it again as `pinnace --debug ...` and report the traceback",
        )
        _fail(internal)
        return INTERNAL_ERROR


def _fail(error: PinnaceError) -> int:
    if _debug():
        raise error
    print_error(error)
    return error.exit_status


def _debug() -> bool:
    return bool(os.environ.get("PINNACE_DEBUG"))


if __name__ == "__main__":
    main()
