"""What is timed: a runtime in this process, a server over HTTP, the model in eager torch."""
