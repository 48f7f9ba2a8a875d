"""Examples in the OpenAPI document: requests that work as they are, so that "Execute" shows an answer."""

from __future__ import annotations

import base64
import functools
import io

from PIL import Image

from pinnace.serving.http.static import FOLDER
from pinnace.serving.routes import Json

IMAGE = "Image"
TENSORS = "Tensors"
DATA_URL = "DataUrl"

_FILE = "example-clock.jpg"
_SIZE = (64, 48)


@functools.cache
def example_base64() -> str:
    """The page's clock as a small JPEG, in base64: about a thousand characters."""
    buffer = io.BytesIO()
    with Image.open(FOLDER / _FILE) as clock:
        clock.resize(_SIZE).save(buffer, "JPEG", quality=60, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def example_components() -> Json:
    """The examples, by the names under which `example` refers to them."""
    image = example_base64()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}
    return {
        IMAGE: {"summary": "A clock", "value": {"image": image}},
        TENSORS: {"summary": "A clock, as an encoded image", "value": {"inputs": [tensor]}},
        DATA_URL: {"summary": "A clock", "value": {"input": f"data:image/jpeg;base64,{image}"}},
    }


def example(name: str) -> Json:
    """What a body's description has besides its schema, for an example of that name."""
    return {"examples": {name.lower(): {"$ref": f"#/components/examples/{name}"}}}
