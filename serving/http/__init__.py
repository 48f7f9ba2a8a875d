"""Everything HTTP: the application, its routes, bodies, keys, and what describes them."""
