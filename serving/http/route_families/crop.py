"""`POST /crop` and `POST /models/{name}/crop`: what the model sees of an image, as a PNG."""

from __future__ import annotations

import asyncio
import io

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.errors import ImageTooLarge
from pinnace.models.image.preprocess import Preprocess
from pinnace.serving.http.endpoint import receive_within, wait_for_answer
from pinnace.serving.http.openapi.operations import image_body, model_name
from pinnace.serving.http.openapi.responses import FOR_AN_IMAGE, failures
from pinnace.serving.http.openapi.tags import MODELS
from pinnace.serving.http.request_body import read_image
from pinnace.serving.http.route_families.classify import requested_model
from pinnace.serving.http.state import server_state
from pinnace.serving.inference.admission import Admission
from pinnace.serving.inference.inputs import decoded
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts

PART = "X-Part"
PNG = "image/png"

# Compressing as many takes a tenth of a second or so. Models that resize or crop take far fewer.
_MOST_PIXELS = 4_000_000


async def crop(request: Request) -> Response:
    """`POST /crop`: one image in, what is left of it after resize and crop out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    engine = requested_model(request).engine
    admission.check()
    with admission.reserved_memory() as hold:
        reading = read_image(request, settings.max_body_bytes, hold)
        image = await receive_within(reading, settings.upload_timeout)
        work = engine.begin(lambda: cropped(engine.model.preprocess, image, admission, settings.max_pixels))
        png, part = await wait_for_answer(request, asyncio.wrap_future(work), settings.timeout)
    return Response(png, media_type=PNG, headers={PART: ", ".join(f"{share:.6g}" for share in part)})


def cropped(
    preprocess: Preprocess, image: bytes | str, admission: Admission, max_pixels: int
) -> tuple[bytes, tuple[float, float, float, float]]:
    """A PNG of what a model with this preprocessing sees, and which part of the image that is.

    Raises:
        ImageTooLarge: the model does not resize the image, and it has more pixels than are shown.
        Others: as `decoded`.
    """
    with decoded(image, admission, max_pixels) as picture:
        part = preprocess.seen_part(picture)
        pixels = preprocess.crop_uint8(picture)
    if pixels.shape[0] * pixels.shape[1] > _MOST_PIXELS:
        raise ImageTooLarge(
            f"the model sees {pixels.shape[1]} x {pixels.shape[0]} pixels",
            expected=f"at most {_MOST_PIXELS:,}, to be shown",
        )
    shown = pixels[..., ::-1] if preprocess.color == "BGR" else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown.squeeze(2) if shown.shape[2] == 1 else shown)).save(
        buffer, "PNG", compress_level=1
    )
    return buffer.getvalue(), part


def _describe(operation: str, summary: str, name: Json | None = None) -> Json:
    shares = "Which part of the image, the right way up: left, top, width and height as shares of it."
    return {
        "summary": summary,
        "description": "The image after the model's own resize and crop, before its numbers are made of it.",
        "operationId": operation,
        "tags": [MODELS],
        "parameters": [] if name is None else [name],
        "requestBody": image_body(),
        "responses": {
            "200": {
                "description": "What the model sees.",
                "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
                "headers": {PART: {"schema": {"type": "string"}, "description": shares}},
            },
            **failures(*FOR_AN_IMAGE, *(() if name is None else ("404",))),
        },
    }


def _describe_default(facts: ServerFacts) -> Json:
    return _describe("crop", "What the model sees of an image")


def _describe_by_name(facts: ServerFacts) -> Json:
    return _describe("crop_with_model", "What a model sees of an image", model_name(facts))


FAMILY = RouteFamily(
    rank=14,
    routes=(
        Route(
            "/crop",
            "POST",
            crop,
            listed="one image: what the model sees of it, as PNG",
            operation=_describe_default,
        ),
        Route("/models/{name:path}/crop", "POST", crop, operation=_describe_by_name),
    ),
)
