"""`POST /classify` of a real server: each way in, and what comes out."""

from __future__ import annotations

import base64
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.serving.http.route_families.classify import answer_body, answer_json
from support.tiny_bundle import encode, logits_of

LABELS = ["reddish", "greenish", "bluish", "bright", "dark"]
RED = (250, 10, 20)


def send(client: httpx.Client, way: str, image: bytes, top_k: object = None) -> httpx.Response:
    """Post an image in one of the ways in."""
    extra = {} if top_k is None else {"top_k": top_k}
    if way == "form":
        fields = {name: str(value) for name, value in extra.items()}
        return client.post("/classify", files={"image": ("../../evil.exe", image)}, data=fields)
    if way == "json":
        return client.post("/classify", json={"image": base64.b64encode(image).decode(), **extra})
    headers = {} if way == "no type" else {"Content-Type": way}
    return client.post("/classify", content=image, headers=headers, params=extra)


WAYS = ["form", "json", "image/png", "image/jpg", "application/octet-stream", "no type", "Image/JPEG; q=1"]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_gives_the_probabilities_of_the_model(client: httpx.Client, way: str) -> None:
    response = send(client, way, encode(RED))
    assert response.status_code == 200, response.text
    answer = response.json()
    logits = logits_of(RED).astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-probabilities)
    assert list(answer) == ["model", "version", "variant", "runtime", "predictions", "timing_ms"]
    assert (answer["model"], answer["variant"], answer["runtime"]) == ("tiny", "onnx-fp32", "onnxruntime")
    assert [p["label"] for p in answer["predictions"]] == [LABELS[i] for i in order]
    assert [p["index"] for p in answer["predictions"]] == order.tolist()
    np.testing.assert_allclose(
        [p["probability"] for p in answer["predictions"]], probabilities[order], rtol=1e-4
    )


def test_the_times_add_up(client: httpx.Client) -> None:
    timing = send(client, "image/png", encode(RED)).json()["timing_ms"]
    assert list(timing) == ["decode", "preprocess", "queue", "infer", "total"]
    assert all(value >= 0 for value in timing.values())
    assert timing["infer"] > 0
    stages = timing["decode"] + timing["preprocess"] + timing["queue"] + timing["infer"]
    assert stages <= timing["total"] + 0.01


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "GIF"])
def test_the_bytes_decide_the_type_whatever_it_is_called(client: httpx.Client, format: str) -> None:
    image = encode(RED, format=format)
    response = send(client, "image/png", image)
    assert response.json()["predictions"][0]["label"] == "reddish"


@pytest.mark.parametrize("way", ["form", "json", "image/png"])
@pytest.mark.parametrize("top_k", [1, 3, 5])
def test_top_k_says_how_many(client: httpx.Client, way: str, top_k: int) -> None:
    answer = send(client, way, encode(RED), top_k).json()
    assert len(answer["predictions"]) == top_k
    assert answer["predictions"][0]["label"] == "reddish"


@pytest.mark.parametrize("way", ["form", "json"])
def test_a_field_counts_more_than_the_query(client: httpx.Client, way: str) -> None:
    image = encode(RED)
    if way == "form":
        response = client.post("/classify?top_k=4", files={"image": image}, data={"top_k": "2"})
    else:
        body = {"image": base64.b64encode(image).decode(), "top_k": 2}
        response = client.post("/classify?top_k=4", json=body)
    assert len(response.json()["predictions"]) == 2


def test_wrapped_base64_is_read(client: httpx.Client) -> None:
    text = base64.encodebytes(encode(RED)).decode()
    assert "\n" in text
    assert client.post("/classify", json={"image": text}).status_code == 200


def test_32_at_once_get_each_their_own_answer(
    client: httpx.Client,
    server: Any,
) -> None:
    colours = {
        "reddish": (255, 0, 0),
        "greenish": (0, 255, 0),
        "bluish": (0, 0, 255),
        "bright": (255, 255, 255),
    }
    jobs = [(label, WAYS[i % len(WAYS)]) for i, label in enumerate(list(colours) * 8)]
    limits = httpx.Limits(max_connections=32)
    with httpx.Client(base_url=server.url, timeout=20, limits=limits) as many, ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda job: send(many, job[1], encode(colours[job[0]])), jobs)
        for (label, _), response in zip(jobs, answers, strict=True):
            assert response.status_code == 200
            assert response.json()["predictions"][0]["label"] == label


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_the_text_of_an_answer_is_its_body_as_json(threshold: float | None) -> None:
    above = None if threshold is None else True
    names = ('a "quoted" \\ name', "ligne\n\u2028 d\u00e9coup\u00e9e", "猫")
    predictions = tuple(Prediction(name, index, (index + 1) / 7, above) for index, name in enumerate(names))
    timing = Timing(0.8123456, 3.0, 1e-7, 11_234.56789, 16.0005)
    answer = Answer(names[0], "onnx-fp32", "onnxruntime", predictions, timing, "5b0ab5b9d35c", threshold)
    assert json.loads(answer_json(answer)) == answer_body(answer)
    assert list(json.loads(answer_json(answer))) == list(answer_body(answer))


def test_what_is_not_a_number_is_never_written() -> None:
    answer = Answer("m", "v", "r", (Prediction("a", 0, math.nan),), Timing(0, 0, 0, 0, 0))
    with pytest.raises(ValueError, match="JSON compliant"):
        answer_json(answer)
