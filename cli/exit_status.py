"""Exit statuses that no error of `models/errors.py` carries; docs/commands.md lists all of them."""

INTERNAL_ERROR = 70
INTERRUPTED = 130
