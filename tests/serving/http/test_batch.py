"""`POST /classify_batch` of a real server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.tiny_bundle import encode

RED, GREEN = (250, 10, 20), (10, 240, 20)
FIELDS = "the fields are images and, optionally, top_k"


def post(client: httpx.Client, images: list[bytes], **options: Any) -> httpx.Response:
    files = [("images", (f"{number}.jpg", image)) for number, image in enumerate(images)]
    return client.post("/classify_batch", files=files, **options)


def test_an_answer_or_an_error_for_each_in_order(client: httpx.Client) -> None:
    red, green = encode(RED), encode(GREEN)
    response = post(client, [green, red[:60], b"%PDF-1.7", red])
    assert response.status_code == 200
    first, cut, other, last = response.json()["results"]
    assert [one["predictions"][0]["label"] for one in (first, last)] == ["greenish", "reddish"]
    assert list(first) == ["model", "version", "variant", "runtime", "predictions", "timing_ms"]
    for one, image in ((cut, red[:60]), (other, b"%PDF-1.7")):
        assert one == client.post("/classify", content=image).json()
    assert [one["error"]["code"] for one in (cut, other)] == ["undecodable_image", "unsupported_image_type"]


def test_each_answer_is_the_one_that_classify_gives(client: httpx.Client) -> None:
    images = [encode((40 * n, 255 - 40 * n, 99), (20 + n, 30)) for n in range(4)]
    together = post(client, images, params={"top_k": 4}).json()["results"]
    alone = [client.post("/classify", content=one, params={"top_k": 4}).json() for one in images]
    assert [one["predictions"] for one in together] == [one["predictions"] for one in alone]


@pytest.mark.parametrize("where", ["params", "data"])
def test_top_k_counts_for_all(client: httpx.Client, where: str) -> None:
    response = post(client, [encode(RED), encode(GREEN)], **{where: {"top_k": "2"}})
    assert [len(one["predictions"]) for one in response.json()["results"]] == [2, 2]
    response = post(client, [encode(RED)], **{where: {"top_k": "9"}})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize("count", [5, 12, 400])
def test_too_many_images_are_413(client: httpx.Client, count: int) -> None:
    response = post(client, [encode(RED)] * count)
    assert (response.status_code, response.json()) == (
        413,
        {
            "error": {
                "code": "batch_too_large",
                "message": "the form has more than 4 images",
                "hint": "send them in several requests",
            }
        },
    )


def test_an_image_of_too_many_bytes_does_not_spoil_the_rest(client: httpx.Client) -> None:
    response = post(client, [encode(RED) + bytes(200_000), encode(RED)])
    large, good = response.json()["results"]
    assert large == {
        "error": {
            "code": "image_too_large",
            "message": "the image is larger than 200000 bytes",
            "hint": "send a smaller image, or a smaller file of it",
        }
    }
    assert good["predictions"][0]["label"] == "reddish"


def test_what_is_no_batch(client: httpx.Client) -> None:
    image = encode(RED)
    wrong = {
        "the body is no form": client.post("/classify_batch", content=image),
        "the content type image/png is not accepted": client.post(
            "/classify_batch", content=image, headers={"Content-Type": "image/png"}
        ),
        "the form has an unknown field 'image'": client.post("/classify_batch", files={"image": image}),
        "the form has no field 'images'": client.post("/classify_batch", files={"top_k": (None, "3")}),
        "the field images is text, not a file": client.post("/classify_batch", files={"images": (None, "x")}),
    }
    for message, response in wrong.items():
        assert response.json()["error"]["message"] == message
    assert [response.status_code for response in wrong.values()] == [415, 415, 422, 422, 422]
    assert wrong["the form has no field 'images'"].json()["error"]["hint"] == FIELDS


def test_a_form_of_many_fields_is_400(client: httpx.Client) -> None:
    fields = {f"field{number}": (None, "x") for number in range(1000)}
    for path in ("/classify", "/classify_batch"):
        response = client.post(path, files=fields)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed_body")
