"""The latency bench: what is timed, how load is made, and what is reported."""
