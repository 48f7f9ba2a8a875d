"""A served bundle for another machine: a bento, a Triton repository."""
