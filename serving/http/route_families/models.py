"""`/models`: what is served, and the routes of one model by its name."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pinnace.serving.http.bodies import ModelsBody, ReloadedBody
from pinnace.serving.http.model_info import models_body
from pinnace.serving.http.openapi.operations import model_name
from pinnace.serving.http.openapi.responses import ANYWHERE, failures, success
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.http.openapi.tags import MODELS
from pinnace.serving.http.route_families.classify import (
    classify,
    classify_batch,
    describe_classify,
    describe_classify_batch,
)
from pinnace.serving.http.route_families.torchserve import listed
from pinnace.serving.http.state import server_state
from pinnace.serving.json_line import JsonLine
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


async def models(request: Request) -> Response:
    """`GET /models`: what is served, in detail; TorchServe's clients find its two fields beside ours."""
    state = server_state(request)
    answering = state.models.answering
    body = models_body(answering)
    if state.settings.torchserve:
        both = [{**listed(one), **ours} for one, ours in zip(answering, body["models"], strict=True)]
        return JsonLine({"models": both})
    return JsonLine(body)


async def reload(request: Request) -> Response:
    """`POST /models/{name}/reload`: answer with the bundle that is on disk now, in every worker."""
    reloader = server_state(request).reloader
    assert reloader is not None
    name = request.path_params["name"]
    done = await reloader.reload_in_all_workers(name)
    body: ReloadedBody = {
        "model": name,
        "version": done.version,
        "previous": done.previous,
        "workers": done.workers,
    }
    if done.note is not None:
        body["note"] = done.note
    return JsonLine(body)


def describe_models(facts: ServerFacts) -> Json:
    """`GET /models` as an OpenAPI operation."""
    return {
        "summary": "The models that are served; the first is the one that /classify asks",
        "operationId": "models",
        "tags": [MODELS],
        "responses": {**success("The models.", ref(ModelsBody)), **failures(*ANYWHERE)},
    }


def describe_reload(facts: ServerFacts) -> Json:
    """`POST /models/{name}/reload` as an OpenAPI operation."""
    return {
        "summary": "Answer with the bundle that is on disk now, in every worker, if it is good",
        "operationId": "reload",
        "tags": [MODELS],
        "parameters": [model_name(facts)],
        "responses": {
            **success("Every worker answers with what is on disk.", ref(ReloadedBody)),
            **failures(*ANYWHERE, "404", "409"),
        },
    }


def _describe_classify(facts: ServerFacts) -> Json | None:
    if not facts.any_is(facts.classifiers):
        return None
    return describe_classify(
        "classify_with_model",
        "Classify one image by a model's name",
        facts.any_top_k,
        threshold=_all_have_several_labels(facts),
        name=model_name(facts, facts.classifiers),
    )


def _all_have_several_labels(facts: ServerFacts) -> bool:
    return facts.classifiers == facts.several_labels


def _describe_classify_batch(facts: ServerFacts) -> Json | None:
    if not facts.any_is(facts.classifiers):
        return None
    return describe_classify_batch(
        "classify_batch_with_model",
        "Classify several images by a model's name",
        facts.any_top_k,
        facts.max_batch_images,
        threshold=_all_have_several_labels(facts),
        name=model_name(facts, facts.classifiers),
    )


FAMILY = RouteFamily(
    rank=20,
    routes=(
        Route(
            "/models",
            handler=models,
            listed="the models, with their labels and preprocessing",
            operation=describe_models,
            bodies=(ModelsBody,),
        ),
        Route(
            "/models/{name:path}/classify",
            "POST",
            classify,
            listed="the same as POST /classify, by a model's name; also classify_batch",
            operation=_describe_classify,
        ),
        Route(
            "/models/{name:path}/classify_batch", "POST", classify_batch, operation=_describe_classify_batch
        ),
        Route(
            "/models/{name:path}/reload",
            "POST",
            reload,
            listed="read the model's bundle again",
            operation=describe_reload,
            bodies=(ReloadedBody,),
        ),
    ),
)
