"""The command line: the commands of `pinnace`, and how errors become messages and exit statuses."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from typing import Annotated, Any

import typer

from pinnace.cli.exit_status import INTERNAL_ERROR, INTERRUPTED
from pinnace.cli.group import Verbs
from pinnace.cli.standard_streams import discard_output, prepare_streams
from pinnace.models.errors import PinnaceError

# Newer versions of typer bring their own copy of click, so its errors are reached through typer.
_WRONG_USAGE: Any = typer.BadParameter.__mro__[2]


def command_line() -> typer.Typer:
    """The command line; each verb is imported when it is named."""
    app = typer.Typer(
        name="pinnace",
        cls=Verbs,
        help="Carry a trained image model from its checkpoint to the place where it answers.",
        no_args_is_help=False,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return app


def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if debug:
        os.environ["PINNACE_DEBUG"] = "1"
    if version:
        from importlib.metadata import version as installed

        print(installed("pinnace"))
    elif context.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stderr.isatty():
            from pinnace.cli.commands.quickstart import quickstart

            quickstart()
        else:
            print(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    prepare_streams()
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        faulthandler.enable()  # where a library has crashed, instead of an end without a word
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = _with_sweep(sys.argv[1:] if arguments is None else arguments)
    try:
        status = command_line()(arguments, prog_name="pinnace", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except _WRONG_USAGE as error:
        from pinnace.cli.wrong_usage import explain

        return _fail(explain(error))
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


def _with_sweep(arguments: list[str]) -> list[str]:
    """Give `--sweep batch=1,2 threads=1,2` back as `--sweep batch=1,2 --sweep threads=1,2`.

    An option takes one word, and the second would be taken for an argument.
    """
    found: list[str] = []
    for word in arguments:
        before = found[-2:]
        if before[:1] == ["--sweep"] and "=" in word and word.partition("=")[0] in ("batch", "threads"):
            found.append("--sweep")
        found.append(word)
    return found


def _fail(error: PinnaceError) -> int:
    if _debug():
        raise error
    from pinnace.cli.console import print_error

    print_error(error)
    return error.exit_status


def _debug() -> bool:
    return bool(os.environ.get("PINNACE_DEBUG"))


if __name__ == "__main__":
    main()
