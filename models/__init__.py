"""What a model is: its source, its preprocessing, its bundle on disk, and the runtimes that execute it."""
