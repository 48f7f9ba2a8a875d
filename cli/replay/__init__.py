"""What `pinnace replay` asks again, and how it is shown."""
