"""Suites: many networks in one bench, a row each, with what others have published beside them."""
