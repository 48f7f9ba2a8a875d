"""What a real server says when a request is wrong: the exact status and the whole body."""

from __future__ import annotations

import base64
import http.client
import json
import pickle
import socket
import time
from typing import Any

import httpx
import pytest

from pinnace.models.errors import PinnaceError
from pinnace.models.image.decode import open_image
from support.tiny_bundle import encode

FIELDS = "the fields are image and, optionally, top_k"
SEND_JSON = 'send {"image": "<base64>"}'
TYPES = "send image/*, application/octet-stream, multipart/form-data or application/json"


def assert_error(response: httpx.Response, status: int, code: str, message: str, hint: str | None) -> None:
    assert (response.status_code, response.json()) == (
        status,
        {"error": {"code": code, "message": message, "hint": hint}},
    )
    assert response.headers["content-type"] == "application/json"


def read_answer(connection: socket.socket) -> tuple[int, object]:
    """Status and body of one answer, which may come in several pieces."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


def what_models_say(data: bytes, max_pixels: int = 90_000) -> PinnaceError:
    """The error of the image reader itself, which the server hands on."""
    with pytest.raises(PinnaceError) as caught:
        open_image(data, max_pixels=max_pixels)
    return caught.value


def hint_of(error: PinnaceError) -> str | None:
    return error.hint or (f"expected: {error.expected}" if error.expected else None)


@pytest.mark.parametrize("way", ["raw", "form", "json"])
def test_a_truncated_image_is_400(client: httpx.Client, way: str) -> None:
    data = encode((1, 2, 3))[:60]
    response = {
        "raw": lambda: client.post("/classify", content=data, headers={"Content-Type": "image/png"}),
        "form": lambda: client.post("/classify", files={"image": data}),
        "json": lambda: client.post("/classify", json={"image": base64.b64encode(data).decode()}),
    }[way]()
    error = what_models_say(data)
    assert_error(response, 400, "undecodable_image", error.message, hint_of(error))


def test_an_empty_body_is_400(client: httpx.Client) -> None:
    error = what_models_say(b"")
    assert_error(client.post("/classify"), 400, "undecodable_image", error.message, hint_of(error))


def test_text_that_is_called_an_image_is_415(client: httpx.Client) -> None:
    data = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    error = what_models_say(data)
    response = client.post("/classify", content=data, headers={"Content-Type": "image/svg+xml"})
    assert_error(response, 415, "unsupported_image_type", error.message, hint_of(error))


def test_a_type_that_is_not_accepted_is_415(client: httpx.Client) -> None:
    response = client.post("/classify", content=b"x", headers={"Content-Type": "text/plain; charset=utf-8"})
    assert_error(
        response, 415, "unsupported_image_type", "the content type text/plain is not accepted", TYPES
    )


def test_the_type_that_curl_adds_is_415_with_the_way_out(client: httpx.Client) -> None:
    response = client.post("/classify", data={"image": "x"})
    assert_error(
        response,
        415,
        "unsupported_image_type",
        "the content type application/x-www-form-urlencoded is not accepted",
        f"{TYPES}; curl --data-binary names this type unless -H 'Content-Type: image/jpeg' is given",
    )


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


@pytest.mark.parametrize("content_type", ["application/vnd.bentoml+pickle", "application/octet-stream"])
def test_a_pickle_is_415_and_not_unpickled(client: httpx.Client, server: Any, content_type: str) -> None:
    headers = {"Content-Type": content_type, "Payload-Container": "default"}
    response = client.post("/classify", content=pickle.dumps(Bomb()), headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_image_type"
    assert "unpickled" not in server.log


def test_too_many_pixels_are_413(client: httpx.Client) -> None:
    data = encode((1, 2, 3), size=(301, 300))
    error = what_models_say(data)
    response = client.post("/classify", content=data)
    assert_error(response, 413, "image_too_large", error.message, hint_of(error))
    assert client.post("/classify", content=encode((1, 2, 3), size=(300, 300))).status_code == 200


TOO_LARGE = {
    "error": {
        "code": "image_too_large",
        "message": "the request body is larger than 200000 bytes",
        "hint": "send a smaller image, or a smaller file of it",
    }
}


@pytest.mark.parametrize("way", ["raw", "form", "json", "chunked"])
def test_too_many_bytes_are_413(client: httpx.Client, way: str) -> None:
    data = b"\x89PNG" + bytes(200_000)
    response = {
        "raw": lambda: client.post("/classify", content=data),
        "chunked": lambda: client.post("/classify", content=iter([data[:100_000], data[100_000:]])),
        "form": lambda: client.post("/classify", files={"image": data}),
        "json": lambda: client.post("/classify", json={"image": base64.b64encode(data).decode()}),
    }[way]()
    assert (response.status_code, response.json()) == (413, TOO_LARGE)


@pytest.mark.parametrize(
    ("framing", "sent"),
    [(b"Content-Length: 1000000000", 10), (b"Transfer-Encoding: chunked", 210_000)],
    ids=["declared", "counted"],
)
def test_a_large_body_is_refused_before_it_has_arrived(server: Any, framing: bytes, sent: int) -> None:
    body = b"x" * sent if b"Length" in framing else b"%x\r\n%s\r\n" % (sent, b"x" * sent)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n" + framing)
        connection.sendall(b"\r\n\r\n" + body)
        assert read_answer(connection) == (413, TOO_LARGE)


@pytest.mark.parametrize("top_k", ["0", "6", "-1", "999999999"])
@pytest.mark.parametrize("way", ["query", "form", "json"])
def test_top_k_out_of_range_is_422(client: httpx.Client, way: str, top_k: str) -> None:
    response = post_top_k(client, way, encode((1, 2, 3)), top_k, int(top_k))
    message = "top_k must be between 1 and 5, the number of classes"
    assert_error(response, 422, "invalid_parameter", message, None)


@pytest.mark.parametrize("top_k", ["", "two", "1.5", " 2", "1_0", "²", "٢", "9" * 5000])
@pytest.mark.parametrize("way", ["query", "form"])
def test_top_k_that_is_no_number_is_422(client: httpx.Client, way: str, top_k: str) -> None:
    response = post_top_k(client, way, encode((1, 2, 3)), top_k, None)
    assert_error(response, 422, "invalid_parameter", f"top_k must be a whole number, not {top_k[:40]}", None)


@pytest.mark.parametrize("top_k", ["3", 1.5, True, [1]])
def test_top_k_in_json_that_is_no_number_is_422(client: httpx.Client, top_k: object) -> None:
    response = post_top_k(client, "json", encode((1, 2, 3)), "", top_k)
    message = f"top_k must be a whole number, not {json.dumps(top_k)}"
    assert_error(response, 422, "invalid_parameter", message, None)


def post_top_k(client: httpx.Client, way: str, image: bytes, text: str, value: object) -> httpx.Response:
    if way == "query":
        return client.post("/classify", content=image, params={"top_k": text})
    if way == "form":
        return client.post("/classify", files={"image": image}, data={"top_k": text})
    return client.post("/classify", json={"image": base64.b64encode(image).decode(), "top_k": value})


def test_a_form_with_another_field_is_422(client: httpx.Client) -> None:
    image = encode((1, 2, 3))
    response = client.post("/classify", files={"file": image})
    assert_error(response, 422, "invalid_parameter", "the form has an unknown field 'file'", FIELDS)
    response = client.post("/classify", files={"image": image}, data={"topk": "3"})
    assert_error(response, 422, "invalid_parameter", "the form has an unknown field 'topk'", FIELDS)
    response = client.post("/classify", files={"top_k": (None, "3")})
    assert_error(response, 422, "invalid_parameter", "the form has no field 'image'", FIELDS)


def test_a_form_with_text_or_several_images_is_422(client: httpx.Client) -> None:
    response = client.post("/classify", files={"image": (None, "https://example.com/cat.jpg")})
    assert_error(
        response,
        422,
        "invalid_parameter",
        "the field image is text, not a file",
        "curl -F image=@cat.jpg sends a file",
    )
    image = encode((1, 2, 3))
    response = client.post("/classify", files=[("image", image), ("image", image)])
    assert_error(response, 422, "invalid_parameter", "the form has 2 fields named image", "send one image")


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("multipart/form-data", "Missing boundary in multipart."),
        ("multipart/form-data; boundary=x", "Invalid multipart data."),
    ],
)
def test_a_broken_form_is_400(client: httpx.Client, server: Any, content_type: str, reason: str) -> None:
    response = client.post("/classify", content=b"nonsense", headers={"Content-Type": content_type})
    assert_error(response, 400, "malformed_body", f"the form cannot be read: {reason}", None)
    assert "boundary" not in server.log


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\xfd", b"[" * 90, b"1" * 5000])
def test_what_is_no_json_is_400(client: httpx.Client, body: bytes) -> None:
    response = client.post("/classify", content=body, headers={"Content-Type": "application/json"})
    assert_error(response, 400, "malformed_body", "the body is not JSON", SEND_JSON)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 30_000, b'{"image":"","top_k":[' + b"1," * 90_000]
)
def test_json_of_many_parts_is_400_and_not_parsed(client: httpx.Client, body: bytes) -> None:
    response = client.post("/classify", content=body, headers={"Content-Type": "application/json"})
    assert_error(response, 400, "malformed_body", "the JSON body has too many parts", SEND_JSON)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ([], "the JSON body must be an object", SEND_JSON),
        ({}, "the JSON body has no field 'image'", FIELDS),
        ({"image": None}, "the field image must be a string", SEND_JSON),
        ({"image": "", "url": "http://127.0.0.1/"}, "the JSON body has an unknown field 'url'", FIELDS),
    ],
)
def test_json_of_another_shape_is_422(client: httpx.Client, body: object, message: str, hint: str) -> None:
    assert_error(client.post("/classify", json=body), 422, "invalid_parameter", message, hint)


@pytest.mark.parametrize("text", ["data:image/png;base64,AAAA", "http://127.0.0.1:1/cat.jpg", "a", "é"])
def test_what_is_no_base64_is_400(client: httpx.Client, text: str) -> None:
    assert_error(
        client.post("/classify", json={"image": text}),
        400,
        "undecodable_image",
        "the image is not base64",
        "send the base64 text alone, without a data: prefix",
    )


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("POST", "/nothing"), ("GET", "/classify/x")]
)
def test_another_path_is_404(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    message = f"there is nothing at {path}"
    assert_error(response, 404, "not_found", message, "the routes are listed at /docs.json")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/classify", "POST"),
        ("DELETE", "/classify", "POST"),
        ("POST", "/", "GET"),
        ("POST", "/livez", "GET"),
    ],
)
def test_another_method_is_405(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    message = f"{path} does not accept {method}"
    assert_error(response, 405, "method_not_allowed", message, f"use {allowed}")
    assert allowed in response.headers["allow"]


def test_a_body_that_does_not_come_is_408(server: Any) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        status, body = read_answer(connection)
        assert connection.recv(1) == b""  # closed
    assert 1.5 < time.monotonic() - started < 8
    message = "the request did not arrive within 2 s"
    assert status == 408
    assert body == {"error": {"code": "request_timeout", "message": message, "hint": None}}


def test_a_client_that_goes_away_is_no_error(client: httpx.Client, server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        time.sleep(0.2)
    assert client.get("/").status_code == 200
    assert "Traceback" not in server.log
