"""What a path is counted and logged as."""

from __future__ import annotations

_BENTOML = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/schema.json")
_OPEN = ("/v2", "/v2/health/live", "/v2/health/ready")
_PATHS = frozenset(("/", "/classify", "/classify_batch", "/models", *_BENTOML, *_OPEN))
_VERBS = frozenset(("classify", "classify_batch", "reload"))
_OPEN_VERBS = frozenset(("infer", "ready"))


def route_of(path: str) -> str:
    """What a path is counted as: one of a few names, whatever the path."""
    if path in _PATHS:
        return path
    if path.startswith("/models/"):
        verb = path.rpartition("/")[2]
        return f"/models/{{name}}/{verb}" if verb in _VERBS else "other"
    if path.startswith("/v2/models/"):
        verb = path.rpartition("/")[2]
        return f"/v2/models/{{name}}/{verb}" if verb in _OPEN_VERBS else "/v2/models/{name}"
    return "/page" if path.startswith("/page/") else "other"
