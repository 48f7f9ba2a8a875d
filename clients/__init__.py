"""Who asks: the command line and what stands behind it."""
