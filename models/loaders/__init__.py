"""The loaders: one module for each kind of source, run in a child interpreter by `pinnace.export`."""
