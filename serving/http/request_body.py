"""Reading images from request bodies: raw, form or JSON, within limits that are checked while reading."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pinnace.models.errors import ImageTooLarge, PinnaceError, UnsupportedImage, UsageError
from pinnace.serving.errors import BatchTooLarge, MalformedBody
from pinnace.serving.http.off_loop import off_loop
from pinnace.serving.inference.inputs import Batch, Upload

IMAGE_FIELD = "image"
BATCH_FIELD = "images"
TOP_K = "top_k"
THRESHOLD = "threshold"
FORM = "multipart/form-data"
JSON = "application/json"
RAW = "application/octet-stream"

_SMALLER = "send a smaller image, or a smaller file of it"
_WHOLE = "pinnace.whole"

_JSON_STRUCTURE = (b"[", b"{", b",", b":")
_MOST_JSON_STRUCTURE = 100

# punycode takes a minute for a megabyte, and Python has a hundred others.
_CHARSETS = frozenset(("utf-8", "utf8", "ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso8859-1"))

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")
_DECIMAL = re.compile(r"-?[0-9]{0,9}\.?[0-9]{1,18}")
_JSON_HINT = 'send {"image": "<base64>"}'


@dataclass(frozen=True)
class BodyLimits:
    """How much is read.

    Attributes:
        body_bytes: the largest body.
        hold: called with a number of bytes before they are kept; may raise.
        check_top_k: called with each `top_k` that is given; may raise.
        check_threshold: called with each `threshold` that is given; may raise.
        image_bytes: the largest image of a batch.
        images: the most images in a batch.
        parameters: what may be asked besides, as messages name it.
    """

    body_bytes: int
    hold: Callable[[int], None]
    check_top_k: Callable[[int], object] = lambda k: None
    check_threshold: Callable[[float], object] = lambda threshold: None
    image_bytes: int = 0
    images: int = 1
    parameters: tuple[str, ...] = (TOP_K,)


@dataclass(frozen=True)
class _Asked:
    """What is asked of an image, besides the image."""

    top_k: int | None = None
    threshold: float | None = None


_NOTHING = _Asked()


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
    kind = content_type(request)
    asked = _asked(request.query_params, limits, _Asked()) if request.scope["query_string"] else _NOTHING
    # What the sender calls an image says little (`image/jpg`, a PNG named .jpg): the bytes decide.
    if kind in ("", RAW) or kind.startswith("image/"):
        return Upload(await read_body(request, limits), asked.top_k, asked.threshold)
    if kind == FORM:
        async with _form(request, limits, IMAGE_FIELD, asked) as (form, asked):
            return Upload(await _form_image(form), asked.top_k, asked.threshold)
    if kind == JSON:
        body = await read_body(request, limits)
        return await off_loop(len(body), parse_json_upload, request, body, limits)
    hint = f"send image/*, {RAW}, {FORM} or {JSON}"
    if kind == "application/x-www-form-urlencoded":
        hint += "; curl --data-binary names this type unless -H 'Content-Type: image/jpeg' is given"
    raise UnsupportedImage(f"the content type {kind[:80]} is not accepted", hint=hint)


async def read_image(request: Request, max_bytes: int, hold: Callable[[int], None]) -> bytes | str:
    """Read the body of a request that asks nothing of an image besides it, as `read_upload` does."""
    limits = BodyLimits(max_bytes, hold, _refuse_parameter, _refuse_parameter, parameters=())
    return (await read_upload(request, limits)).image


def _refuse_parameter(value: float) -> None:
    raise UsageError(f"{TOP_K} and {THRESHOLD} mean nothing here", hint="leave them out")


async def read_batch(request: Request, limits: BodyLimits) -> Batch:
    """Read the body of a request for several images, which is a form.

    Raises:
        BatchTooLarge: there are more images than the limit.
        Others: as `read_upload`.
    """
    kind = content_type(request)
    asked = _asked(request.query_params, limits, _Asked())
    if not kind:
        raise UnsupportedImage("the body is no form", hint=f"send {FORM}")
    if kind != FORM:
        raise UnsupportedImage(f"the content type {kind[:80]} is not accepted", hint=f"send {FORM}")
    async with _form(request, limits, BATCH_FIELD, asked) as (form, asked):
        files = [_file(value, BATCH_FIELD) for value in form.getlist(BATCH_FIELD)]
        images = tuple([await _one_of_batch(file, limits.image_bytes) for file in files])
        return Batch(images, asked.top_k, asked.threshold)


async def _one_of_batch(file: UploadFile, max_bytes: int) -> bytes | PinnaceError:
    if (file.size or 0) > max_bytes:
        return ImageTooLarge(f"the image is larger than {max_bytes} bytes", hint=_SMALLER)
    return await file.read()


def body_was_read(request: Request) -> bool:
    """Whether the body of a request has been read to its end."""
    return bool(request.scope.get(_WHOLE))


def content_type(request: Request) -> str:
    """The type of a request's body, in small letters and without parameters; empty where none is named."""
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


class _FormParser(MultiPartParser):
    """Starlette's parser, which knows whether the form has come to its end."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


def _accepted(headers: Headers) -> Headers:
    """The headers of a form, unless it names a charset that costs more to decode than to receive.

    Raises:
        MalformedBody: it does, or the charset is unknown.
    """
    _, options = parse_options_header(headers["content-type"])
    charset = options.get(b"charset", b"utf-8").decode("latin-1").lower().replace("_", "-")
    if charset not in _CHARSETS:
        raise MalformedBody(
            f"the charset {charset[:40]} is not accepted", hint="send UTF-8, ASCII or ISO-8859-1"
        )
    return headers


@contextlib.asynccontextmanager
async def read_form(request: Request, limits: BodyLimits) -> AsyncIterator[FormData]:
    """The form that the body of a request is, whatever its fields.

    Raises:
        As `read_upload`.
    """
    # A few more than are allowed: the checks below have better messages than the parser's.
    parser = _FormParser(
        _accepted(request.headers), _chunks(request, limits), max_files=limits.images + 7, max_fields=8
    )
    parser.spool_max_size = limits.body_bytes + 1  # the body is bounded already, so no part ever goes to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files") and limits.images > 1:
            raise _too_many(limits.images) from None
        raise MalformedBody(f"the form cannot be read: {error.message}") from None
    try:
        if not parser.ended:
            raise MalformedBody(
                "the form is cut short: it ends before its last boundary",
                hint="send the whole of it, or a Content-Length that is right",
            )
        yield form
    finally:
        await form.close()


@contextlib.asynccontextmanager
async def _form(
    request: Request, limits: BodyLimits, field: str, asked: _Asked
) -> AsyncIterator[tuple[FormData, _Asked]]:
    """The form, which has the field, and what it asks besides."""
    async with read_form(request, limits) as form:
        _check_fields("form", list(form), field, limits.parameters)
        if len(form.getlist(field)) > limits.images > 1:
            raise _too_many(limits.images)
        texts: dict[str, str] = {}
        for name in (TOP_K, THRESHOLD):
            values = form.getlist(name)
            if len(values) > 1 or isinstance(next(iter(values), ""), UploadFile):
                raise UsageError(f"the form must have one plain field {name} at most")
            if values:
                texts[name] = str(values[0])
        yield form, _asked(texts, limits, asked)


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


def parse_json_object(body: bytes, hint: str, most_parts: int = _MOST_JSON_STRUCTURE) -> dict[str, Any]:
    """The object that a JSON body is.

    Args:
        body: the whole body.
        hint: what to send instead, where it is something else.
        most_parts: brackets, commas and colons. Megabytes of them would stop everything else for seconds;
            base64 has none.

    Raises:
        MalformedBody: it is not JSON, or has too many parts.
        UsageError: it is not an object.
    """
    if sum(map(body.count, _JSON_STRUCTURE)) > most_parts:
        raise MalformedBody("the JSON body has too many parts", hint=hint)
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not JSON", hint=hint) from None
    if not isinstance(data, dict):
        raise UsageError("the JSON body must be an object", hint=hint)
    return data


def parse_json_upload(request: Request, body: bytes, limits: BodyLimits) -> Upload:
    """The image of a JSON body, and what is asked besides, there or in the query.

    Raises:
        As `read_upload`.
    """
    asked = _asked(request.query_params, limits, _Asked())
    data = parse_json_object(body, _JSON_HINT)
    _check_fields("JSON body", list(data), IMAGE_FIELD, limits.parameters)
    image = data[IMAGE_FIELD]
    if not isinstance(image, str):
        raise UsageError(f"the field {IMAGE_FIELD} must be a string", hint=_JSON_HINT)
    top_k, threshold = json_top_k(data, limits), data.get(THRESHOLD)
    if threshold is not None:
        if not isinstance(threshold, int | float) or isinstance(threshold, bool):
            raise _not_a_number(json.dumps(threshold))
        limits.check_threshold(threshold)
    return Upload(
        image,
        asked.top_k if top_k is None else top_k,
        asked.threshold if threshold is None else threshold,
    )


def json_top_k(data: Mapping[str, Any], limits: BodyLimits) -> int | None:
    """`top_k` of a JSON body, checked; None where it is missing or null.

    Raises:
        UsageError: it is not a whole number.
        PinnaceError: what `limits.check_top_k` raises.
    """
    value = data.get(TOP_K)
    if value is None:
        return None
    # bool is a subclass of int, and `true` is not a number of classes.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _not_a_whole_number(json.dumps(value))
    limits.check_top_k(value)
    return value


def _check_fields(where: str, names: list[str], field: str, parameters: tuple[str, ...]) -> None:
    known = f"the fields are {field}" + (
        f" and, optionally, {' and '.join(parameters)}" if parameters else ""
    )
    unknown = [name for name in names if name not in (field, TOP_K, THRESHOLD)]
    if unknown:
        raise UsageError(f"the {where} has an unknown field {unknown[0][:80]!r}", hint=known)
    if field not in names:
        raise UsageError(f"the {where} has no field {field!r}", hint=known)


def _asked(texts: Mapping[str, str], limits: BodyLimits, before: _Asked) -> _Asked:
    """What the texts ask, and what was asked before where they are silent."""
    top_k, threshold = before.top_k, before.threshold
    if (text := texts.get(TOP_K)) is not None:
        # Stricter than int(), which also reads "1_0", " 5 " and other alphabets' digits.
        if not _WHOLE_NUMBER.fullmatch(text):
            raise _not_a_whole_number(text)
        limits.check_top_k(int(text))
        top_k = int(text)
    if (text := texts.get(THRESHOLD)) is not None:
        if not _DECIMAL.fullmatch(text):
            raise _not_a_number(text)
        limits.check_threshold(float(text))
        threshold = float(text)
    return _Asked(top_k, threshold)


def _not_a_number(got: str) -> UsageError:
    return UsageError(f"{THRESHOLD} must be a number from 0 to 1, not {got[:40]}")


def _not_a_whole_number(got: str) -> UsageError:
    return UsageError(f"{TOP_K} must be a whole number, not {got[:40]}")
