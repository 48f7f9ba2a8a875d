"""A bench on another machine, reached by the system's `ssh`."""
