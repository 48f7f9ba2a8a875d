"""What `pinnace drift` compares, and how it is shown."""
