"""The command line: it composes the five other wings, and only it does."""
