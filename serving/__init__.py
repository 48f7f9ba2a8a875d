"""How a bundle answers over HTTP."""
