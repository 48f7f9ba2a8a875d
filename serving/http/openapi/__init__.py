"""The OpenAPI description of every route, which is served at `/docs.json`."""
