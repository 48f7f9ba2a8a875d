"""The child interpreter that loads foreign code: how it is started, and what runs in it."""
