"""A bench or a tuning on another machine, reached by the system's `ssh`."""
