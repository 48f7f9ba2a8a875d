"""Networks of our own, where no package that is installed anyway has them."""
