"""Reading images from request bodies: raw, form or JSON, within limits that are checked while reading."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pinnace.models.errors import ImageTooLarge, PinnaceError, UnsupportedImage, UsageError
from pinnace.serving.errors import BatchTooLarge, MalformedBody
from pinnace.serving.inference.inputs import Batch, Upload

IMAGE_FIELD = "image"
BATCH_FIELD = "images"
TOP_K = "top_k"
FORM = "multipart/form-data"
JSON = "application/json"
RAW = "application/octet-stream"

_SMALLER = "send a smaller image, or a smaller file of it"
_WHOLE = "pinnace.whole"

_JSON_STRUCTURE = (b"[", b"{", b",", b":")
_MOST_JSON_STRUCTURE = 100

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True)
class BodyLimits:
    """How much is read.

    Attributes:
        body_bytes: the largest body.
        hold: called with a number of bytes before they are kept; may raise.
        check_top_k: called with each `top_k` that is given; may raise.
        image_bytes: the largest image of a batch.
        images: the most images in a batch.
    """

    body_bytes: int
    hold: Callable[[int], None]
    check_top_k: Callable[[int], object] = lambda k: None
    image_bytes: int = 0
    images: int = 1


async def read_upload(request: Request, limits: BodyLimits) -> Upload:
    """Read the body of a request for one image, by its content type.

    Raises:
        UnsupportedImage: the content type is not one of those that are accepted.
        ImageTooLarge: the body is longer than the limit; the rest of it is not read.
        MalformedBody: the body is not what its content type says.
        UsageError: a field is missing or unknown, or `top_k` is not a whole number.
        PinnaceError: what `limits.hold` and `limits.check_top_k` raise.
        starlette.requests.ClientDisconnect: the client went away.
    """
    content_type = _content_type(request)
    top_k = _top_k(request.query_params.get(TOP_K), limits)
    # What the sender calls an image says little (`image/jpg`, a PNG named .jpg): the bytes decide.
    if content_type in ("", RAW) or content_type.startswith("image/"):
        return Upload(await read_body(request, limits), top_k)
    if content_type == FORM:
        async with _form(request, limits, IMAGE_FIELD, top_k) as (form, top_k):
            return Upload(await _form_image(form), top_k)
    if content_type == JSON:
        return _parse_json(await read_body(request, limits), top_k, limits)
    hint = f"send image/*, {RAW}, {FORM} or {JSON}"
    if content_type == "application/x-www-form-urlencoded":
        hint += "; curl --data-binary names this type unless -H 'Content-Type: image/jpeg' is given"
    raise UnsupportedImage(f"the content type {content_type[:80]} is not accepted", hint=hint)


async def read_batch(request: Request, limits: BodyLimits) -> Batch:
    """Read the body of a request for several images, which is a form.

    Raises:
        BatchTooLarge: there are more images than the limit.
        Others: as `read_upload`.
    """
    content_type = _content_type(request)
    top_k = _top_k(request.query_params.get(TOP_K), limits)
    if not content_type:
        raise UnsupportedImage("the body is no form", hint=f"send {FORM}")
    if content_type != FORM:
        raise UnsupportedImage(f"the content type {content_type[:80]} is not accepted", hint=f"send {FORM}")
    async with _form(request, limits, BATCH_FIELD, top_k) as (form, top_k):
        files = [_file(value, BATCH_FIELD) for value in form.getlist(BATCH_FIELD)]
        return Batch(tuple([await _one_of_batch(file, limits.image_bytes) for file in files]), top_k)


async def _one_of_batch(file: UploadFile, max_bytes: int) -> bytes | PinnaceError:
    if (file.size or 0) > max_bytes:
        return ImageTooLarge(f"the image is larger than {max_bytes} bytes", hint=_SMALLER)
    return await file.read()


def body_was_read(request: Request) -> bool:
    """Whether the body of a request has been read to its end."""
    return bool(request.scope.get(_WHOLE))


async def drain_body(request: Request, seconds: float = 1.0) -> None:
    """Read on for a moment: a connection that is closed on a sender who does not look loses the answer."""
    if body_was_read(request) or "expect" in request.headers:
        return
    with anyio.move_on_after(seconds):
        while (await request.receive()).get("more_body"):
            pass


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _chunks(request: Request, limits: BodyLimits) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limits.body_bytes:
            raise _too_large(limits.body_bytes)
        limits.hold(len(chunk))
        yield chunk
    request.scope[_WHOLE] = True


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(f"the request body is larger than {max_bytes} bytes", hint=_SMALLER)


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Read a body as it is.

    Raises:
        As `read_upload`, but for what is wrong with its content.
    """
    return b"".join([chunk async for chunk in _chunks(request, limits)])


@contextlib.asynccontextmanager
async def _form(
    request: Request, limits: BodyLimits, field: str, top_k: int | None
) -> AsyncIterator[tuple[FormData, int | None]]:
    """The form, which has the field, and `top_k` where it has that too."""
    # A few more than are allowed: the checks below have better messages than the parser's.
    parser = MultiPartParser(
        request.headers, _chunks(request, limits), max_files=limits.images + 7, max_fields=8
    )
    parser.spool_max_size = limits.body_bytes + 1  # the body is bounded already, so no part ever goes to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files") and limits.images > 1:
            raise _too_many(limits.images) from None
        raise MalformedBody(f"the form cannot be read: {error.message}") from None
    try:
        _check_fields("form", list(form), field)
        if len(form.getlist(field)) > limits.images > 1:
            raise _too_many(limits.images)
        values = form.getlist(TOP_K)
        if len(values) > 1 or isinstance(next(iter(values), ""), UploadFile):
            raise UsageError(f"the form must have one plain field {TOP_K} at most")
        yield form, _top_k(str(values[0]), limits) if values else top_k
    finally:
        await form.close()


def _too_many(images: int) -> BatchTooLarge:
    return BatchTooLarge(f"the form has more than {images} images", hint="send them in several requests")


async def _form_image(form: FormData) -> bytes:
    images = form.getlist(IMAGE_FIELD)
    if len(images) > 1:
        raise UsageError(f"the form has {len(images)} fields named {IMAGE_FIELD}", hint="send one image")
    return await _file(images[0], IMAGE_FIELD).read()


def _file(value: UploadFile | str, field: str) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise UsageError(
            f"the field {field} is text, not a file", hint=f"curl -F {field}=@cat.jpg sends a file"
        )
    return value


def _parse_json(body: bytes, top_k: int | None, limits: BodyLimits) -> Upload:
    # Megabytes of brackets and commas would stop everything else for seconds. Base64 has none of them.
    if sum(map(body.count, _JSON_STRUCTURE)) > _MOST_JSON_STRUCTURE:
        raise MalformedBody("the JSON body has too many parts", hint='send {"image": "<base64>"}')
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not JSON", hint='send {"image": "<base64>"}') from None
    if not isinstance(data, dict):
        raise UsageError("the JSON body must be an object", hint='send {"image": "<base64>"}')
    _check_fields("JSON body", list(data), IMAGE_FIELD)
    image = data[IMAGE_FIELD]
    if not isinstance(image, str):
        raise UsageError(f"the field {IMAGE_FIELD} must be a string", hint='send {"image": "<base64>"}')
    value = data.get(TOP_K)
    if value is not None:
        # bool is a subclass of int, and `true` is not a number of classes.
        if not isinstance(value, int) or isinstance(value, bool):
            raise _not_a_whole_number(json.dumps(value))
        limits.check_top_k(value)
        top_k = value
    return Upload(image, top_k)


def _check_fields(where: str, names: list[str], field: str) -> None:
    known = f"the fields are {field} and, optionally, {TOP_K}"
    unknown = [name for name in names if name not in (field, TOP_K)]
    if unknown:
        raise UsageError(f"the {where} has an unknown field {unknown[0][:80]!r}", hint=known)
    if field not in names:
        raise UsageError(f"the {where} has no field {field!r}", hint=known)


def _top_k(text: str | None, limits: BodyLimits) -> int | None:
    if text is None:
        return None
    # Stricter than int(), which also reads "1_0", " 5 " and other alphabets' digits.
    if not _WHOLE_NUMBER.fullmatch(text):
        raise _not_a_whole_number(text)
    limits.check_top_k(int(text))
    return int(text)


def _not_a_whole_number(got: str) -> UsageError:
    return UsageError(f"{TOP_K} must be a whole number, not {got[:40]}")
