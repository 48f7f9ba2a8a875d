"""The ways an image comes in: a raw body, a form, or JSON. Everything is counted while it is read."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pinnace.models.errors import ImageTooLarge, UnsupportedImage, UsageError
from pinnace.serving.errors import MalformedBody

IMAGE_FIELD = "image"
TOP_K = "top_k"
FORM = "multipart/form-data"
JSON = "application/json"
RAW = "application/octet-stream"

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True)
class Upload:
    """One image as it came in.

    Attributes:
        image: the encoded bytes, or base64 text that is still to be decoded.
        top_k: how many classes were asked for, or None; not yet compared with the model.
    """

    image: bytes | str
    top_k: int | None


async def read_upload(request: Request, max_bytes: int) -> Upload:
    """Read the body of a request, by its content type.

    Raises:
        UnsupportedImage: the content type is none that is accepted.
        ImageTooLarge: the body is longer than `max_bytes`; the rest of it is not read.
        MalformedBody: the body is not what its content type says.
        UsageError: a field is missing or unknown, or `top_k` is no whole number.
        starlette.requests.ClientDisconnect: the client went away.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    top_k = _top_k(request.query_params.get(TOP_K))
    # What the sender calls an image says little (`image/jpg`, a PNG named .jpg): the bytes decide.
    if content_type in ("", RAW) or content_type.startswith("image/"):
        return Upload(await _read(request, max_bytes), top_k)
    if content_type == FORM:
        return await _read_form(request, max_bytes, top_k)
    if content_type == JSON:
        return _parse_json(await _read(request, max_bytes), top_k)
    hint = f"send image/*, {RAW}, {FORM} or {JSON}"
    if content_type == "application/x-www-form-urlencoded":
        hint += "; curl --data-binary names this type unless -H 'Content-Type: image/jpeg' is given"
    raise UnsupportedImage(f"the content type {content_type[:80]} is not accepted", hint=hint)


async def _chunks(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    total = int(declared) if declared.isdecimal() else 0
    if total > max_bytes:
        raise _too_large(max_bytes)
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"the request body is larger than {max_bytes} bytes",
        hint="send a smaller image, or a smaller file of it",
    )


async def _read(request: Request, max_bytes: int) -> bytes:
    return b"".join([chunk async for chunk in _chunks(request, max_bytes)])


async def _read_form(request: Request, max_bytes: int, top_k: int | None) -> Upload:
    parser = MultiPartParser(request.headers, _chunks(request, max_bytes), max_files=8, max_fields=8)
    parser.spool_max_size = max_bytes + 1  # the body is bounded already, so no part ever goes to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedBody(f"the form cannot be read: {error.message}") from None
    try:
        _check_fields("form", list(form))
        values = form.getlist(TOP_K)
        if len(values) > 1 or isinstance(next(iter(values), ""), UploadFile):
            raise UsageError(f"the form must have one plain field {TOP_K} at most")
        if values:
            top_k = _top_k(str(values[0]))
        return Upload(await _form_image(form), top_k)
    finally:
        await form.close()


async def _form_image(form: FormData) -> bytes:
    images = form.getlist(IMAGE_FIELD)
    if len(images) > 1:
        raise UsageError(f"the form has {len(images)} fields named {IMAGE_FIELD}", hint="send one image")
    image = images[0]
    if not isinstance(image, UploadFile):
        raise UsageError(
            f"the field {IMAGE_FIELD} is text, not a file",
            hint=f"curl -F {IMAGE_FIELD}=@cat.jpg sends a file",
        )
    return await image.read()


def _parse_json(body: bytes, top_k: int | None) -> Upload:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not JSON", hint='send {"image": "<base64>"}') from None
    if not isinstance(data, dict):
        raise UsageError("the JSON body must be an object", hint='send {"image": "<base64>"}')
    _check_fields("JSON body", list(data))
    image = data[IMAGE_FIELD]
    if not isinstance(image, str):
        raise UsageError(f"the field {IMAGE_FIELD} must be a string", hint='send {"image": "<base64>"}')
    value = data.get(TOP_K)
    if value is not None:
        # bool is an int to Python, and `true` is no number of classes.
        if not isinstance(value, int) or isinstance(value, bool):
            raise _not_a_whole_number(json.dumps(value))
        top_k = value
    return Upload(image, top_k)


def _check_fields(where: str, names: list[str]) -> None:
    known = f"the fields are {IMAGE_FIELD} and, optionally, {TOP_K}"
    unknown = [name for name in names if name not in (IMAGE_FIELD, TOP_K)]
    if unknown:
        raise UsageError(f"the {where} has an unknown field {unknown[0][:80]!r}", hint=known)
    if IMAGE_FIELD not in names:
        raise UsageError(f"the {where} has no field {IMAGE_FIELD!r}", hint=known)


def _top_k(text: str | None) -> int | None:
    if text is None:
        return None
    # Stricter than int(), which also reads "1_0", " 5 " and other alphabets' digits.
    if not _WHOLE_NUMBER.fullmatch(text):
        raise _not_a_whole_number(text)
    return int(text)


def _not_a_whole_number(got: str) -> UsageError:
    return UsageError(f"{TOP_K} must be a whole number, not {got[:40]}")
