"""Every error status as an OpenAPI response: its codes and headers."""

from __future__ import annotations

from pinnace.serving.http.bodies import ErrorBody
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.http.request_body import JSON
from pinnace.serving.routes import Json

_SECONDS = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds until there may be room."}
_KEY = {"schema": {"type": "string", "enum": ["Bearer"]}}
_METHODS = {"schema": {"type": "string"}, "description": "What the path accepts."}

_DESCRIPTIONS = {
    "400": "`undecodable_image`: the bytes are not an image that can be decoded. `malformed_body`: the form "
    "or the JSON cannot be read. `malformed_request`: the request is not valid HTTP. "
    "`cross_origin_refused`: pages of that origin may not ask this.",
    "401": "`unauthorized`: an API key is set, and the request does not bring it.",
    "404": "`unknown_model`: no model of that name is served. `not_enabled`: the server's settings "
    "do not let it.",
    "405": "`method_not_allowed`: the path accepts another method.",
    "408": "`request_timeout`: the request did not arrive in time.",
    "409": "`reload_failed`: the bundle on disk is not good; the one from before answers on.",
    "413": "`image_too_large`: too many bytes or pixels. `batch_too_large`: too many images.",
    "415": "`unsupported_image_type`: another content type, or bytes of no image type that is accepted. "
    "`unsupported_encoding`: the body is compressed.",
    "422": "`invalid_parameter`: `top_k` is wrong, or a field is missing or unknown.",
    "431": "`headers_too_large`: the request line and headers are too long.",
    "500": "`internal` and others: the server failed; its log says why.",
    "503": "`overloaded`: there is no room for another request now.",
    "504": "`timeout`: the answer was not ready in time.",
}
_HEADERS: Json = {
    "401": {"WWW-Authenticate": _KEY},
    "405": {"Allow": _METHODS},
    "503": {"Retry-After": _SECONDS},
}

RESPONSES: Json = {
    f"Status{status}": {
        "description": text,
        **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        "content": {JSON: {"schema": ref(ErrorBody)}},
    }
    for status, text in _DESCRIPTIONS.items()
}

# What any request may be answered, whatever its path: the connection is refused, or it is not valid HTTP.
ANYWHERE = ("400", "401", "408", "431", "500", "503")
FOR_AN_IMAGE = (*ANYWHERE, "413", "415", "422", "504")


def failures(*statuses: str) -> Json:
    """References to the responses of these statuses, in order."""
    return {status: {"$ref": f"#/components/responses/Status{status}"} for status in sorted(statuses)}


def success(description: str, schema: Json) -> Json:
    """The response 200 with a JSON body."""
    return {"200": {"description": description, "content": {JSON: {"schema": schema}}}}
