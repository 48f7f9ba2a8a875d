"""Errors before any worker runs, in the form in which BentoML's command line prints one and exits."""

from __future__ import annotations

import click

from pinnace.models.errors import PinnaceError
from pinnace.models.printable import printable


class StartupError(click.ClickException):
    """Something is wrong before any worker starts.

    Attributes:
        cause: what is wrong.
    """

    def __init__(self, cause: PinnaceError) -> None:
        super().__init__(printable(str(cause), keep="\n"))
        self.cause = cause
        self.exit_code = cause.exit_status  # type: ignore[misc]
