"""Which configuration of a bundle is best on this machine: space, race, profile and report."""
