"""Opting out of the usage reports that BentoML sends to its makers by default."""

from __future__ import annotations

import os

from bentoml._internal.utils.analytics import usage_stats


def opt_out() -> None:
    """Report nothing to anybody, unless the user asks for it with `BENTOML_DO_NOT_TRACK=False`."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # BentoML's command line has read the variable before it imports the service, and remembers what it read.
    usage_stats.do_not_track.cache_clear()
