"""The fixtures of `support/colours.py`."""

from support.colours import bundle, nobody, pinnace, project, server, stub

__all__ = ["bundle", "nobody", "pinnace", "project", "server", "stub"]
