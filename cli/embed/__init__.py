"""The command `pinnace embed`: vectors of images, in a file."""
