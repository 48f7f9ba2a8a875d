"""What schemathesis cannot know: bytes, and the text of a field in base64, are to be those of an image."""

import base64
import io

import schemathesis
from hypothesis import strategies
from PIL import Image


def _image(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (250, 10, 10)).save(buffer, format)
    return buffer.getvalue()


IMAGES = strategies.sampled_from([_image("PNG"), _image("JPEG")])

schemathesis.openapi.format("byte", IMAGES.map(lambda image: base64.b64encode(image).decode()))
schemathesis.openapi.media_type("application/octet-stream", IMAGES, aliases=["image/*"])
schemathesis.openapi.format("binary", IMAGES)
