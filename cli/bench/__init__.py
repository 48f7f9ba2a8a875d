"""What `pinnace bench` shows on a terminal, and its suites."""
