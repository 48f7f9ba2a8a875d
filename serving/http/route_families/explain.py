"""`POST /explain` and `POST /models/{name}/explain`: on which parts of an image a score depends."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.errors import UsageError
from pinnace.serving.http.bodies import ExplanationBody
from pinnace.serving.http.endpoint import receive_within, record_timing, rounded, wait_for_answer
from pinnace.serving.http.openapi.operations import image_body, model_name
from pinnace.serving.http.openapi.responses import FOR_AN_IMAGE, failures, success
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.http.openapi.tags import CLASSIFICATION
from pinnace.serving.http.request_body import read_image
from pinnace.serving.http.route_families.classify import requested_model
from pinnace.serving.http.state import server_state
from pinnace.serving.inference.explanation import DEFAULT_GRID, MOST_GRID, Explanation
from pinnace.serving.json_line import JsonLine
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts

INDEX = "index"
GRID = "grid"
_LARGEST_INDEX = 999_999


async def explain(request: Request) -> Response:
    """`POST /explain`: one image in, a map of how much each part counts for the score of a class out."""
    state = server_state(request)
    settings, admission, explainer = state.settings, state.models.admission, state.models.explainer
    explainer.check_enabled()
    engine = requested_model(request).engine
    _ = engine.classifier  # refused before the body is read
    index = _number(request, INDEX, 0, _LARGEST_INDEX)
    grid = _number(request, GRID, 1, MOST_GRID) or DEFAULT_GRID
    admission.check()
    with admission.reserved_memory() as hold:
        reading = read_image(request, settings.max_body_bytes, hold)
        image = await receive_within(reading, settings.upload_timeout)
        made = await wait_for_answer(request, explainer.explain(engine, image, index, grid), settings.timeout)
    body = explanation_body(made)
    names = {"model": body["model"], "version": body["version"], "variant": body["variant"]}
    record_timing(request, made.timing_ms, {**names, "runtime": body["runtime"]})
    return JsonLine(body, headers=server_timing(made.timing_ms))


def explanation_body(made: Explanation) -> ExplanationBody:
    """An explanation as JSON data."""
    left, top, width, height = made.part
    return {
        "model": made.bundle.name,
        "version": made.bundle.version,
        "variant": made.classifier.variant.name,
        "runtime": made.classifier.runtime.name,
        "label": made.classifier.labels[made.index],
        "index": made.index,
        "probability": made.probability,
        "drops": [[round(drop, 6) for drop in row] for row in made.drops.tolist()],
        "part": {"left": left, "top": top, "width": width, "height": height},
        "timing_ms": rounded(made.timing_ms),
    }


def _number(request: Request, name: str, least: int, most: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 7 and least <= int(text) <= most):
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {text[:40]}")
    return int(text)


def _describe(operation: str, summary: str, name: Json | None = None) -> Json:
    index = {"type": "integer", "minimum": 0, "description": "The class; by default the most probable one."}
    grid = {
        "type": "integer",
        "minimum": 1,
        "maximum": MOST_GRID,
        "default": DEFAULT_GRID,
        "description": "Fields along each side: the model runs once for each field.",
    }
    query = [
        {"name": each, "in": "query", "required": False, "schema": schema}
        for each, schema in ((INDEX, index), (GRID, grid))
    ]
    return {
        "summary": summary,
        "description": "How much the score of a class drops while each field of a grid over the image is "
        "covered with the image's mean colour. One image at a time is explained in each process; while it "
        "is, others are answered 503.",
        "operationId": operation,
        "tags": [CLASSIFICATION],
        "parameters": query if name is None else [name, *query],
        "requestBody": image_body(),
        "responses": {
            **success("The drops.", ref(ExplanationBody)),
            **failures(*FOR_AN_IMAGE, "404"),
        },
    }


def _describe_default(facts: ServerFacts) -> Json | None:
    if not (facts.explains and facts.default_is(facts.classifiers)):
        return None
    return _describe("explain", "Which parts of an image the score of a class depends on")


def _describe_by_name(facts: ServerFacts) -> Json | None:
    if not (facts.explains and facts.any_is(facts.classifiers)):
        return None
    name = model_name(facts, facts.classifiers)
    return _describe("explain_with_model", "The same by a model's name", name)


FAMILY = RouteFamily(
    rank=12,
    routes=(
        Route(
            "/explain",
            "POST",
            explain,
            listed="one image: which parts of it the score of a class depends on; needs the setting explain",
            operation=_describe_default,
            bodies=(ExplanationBody,),
        ),
        Route("/models/{name:path}/explain", "POST", explain, operation=_describe_by_name),
    ),
)
