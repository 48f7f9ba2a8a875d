"""The Open Inference Protocol, asked by Triton's client and by hand."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from pinnace.serving.http.route_families import route_table
from pinnace.serving.http.v2.tensors import InputLimits, parse_request, read_items
from support.tiny_bundle import encode, logits_of

RED, BLUE = (250, 10, 20), (10, 20, 240)
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def asked(server: Any) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def version(client: httpx.Client) -> str:
    return str(client.get("/models").json()["models"][0]["version"])


def pixels(*colours: tuple[int, int, int]) -> np.ndarray:
    """The model's input for images of one colour each, computed without any of our code."""
    values = (np.array(colours, dtype=np.float32) / 255 - 0.5) / 0.5
    return np.ascontiguousarray(np.broadcast_to(values[:, :, None, None], (len(colours), 3, 8, 8)))


def tensor(
    values: np.ndarray, datatype: str, name: str = "input", *, binary: bool = True
) -> triton.InferInput:
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def images(*encoded: bytes) -> np.ndarray:
    return np.array(encoded, dtype=np.object_)


def test_health_and_metadata(asked: triton.InferenceServerClient, version: str) -> None:
    assert asked.is_server_live()
    assert asked.is_server_ready()
    assert asked.is_model_ready("tiny")
    assert asked.is_model_ready("tiny", version)
    assert not asked.is_model_ready("other")
    assert not asked.is_model_ready("tiny", "1")
    assert asked.get_server_metadata()["name"] == "pinnace"
    assert "binary_tensor_data" in asked.get_server_metadata()["extensions"]
    described = {
        "name": "tiny",
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 5]}],
    }
    assert asked.get_model_metadata("tiny") == asked.get_model_metadata("tiny", version) == described


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tensors(asked: Any, version: str, binary_in: bool, binary_out: bool) -> None:
    given = tensor(pixels(RED, BLUE), "FP32", binary=binary_in)
    outputs = [triton.InferRequestedOutput("logits", binary_data=binary_out)]
    result = asked.infer("tiny", [given], version, outputs=outputs, request_id="seven")
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", version, "seven")
    expected = np.stack([logits_of(RED), logits_of(BLUE)])
    np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["input", "image"])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_images_are_preprocessed_as_elsewhere(asked: Any, name: str, shape: Any) -> None:
    encoded = images(encode(RED), encode(BLUE, format="JPEG"))
    result = asked.infer("tiny", [tensor(encoded.reshape(shape), "BYTES", name)])
    expected = np.stack([logits_of(RED), logits_of(BLUE)])
    np.testing.assert_allclose(result.as_numpy("logits"), expected, atol=0.05)


def test_classes_as_triton_writes_them(asked: Any) -> None:
    outputs = [triton.InferRequestedOutput("logits", class_count=2)]
    result = asked.infer("tiny", [tensor(images(encode(BLUE)), "BYTES")], outputs=outputs)
    ((first, second),) = result.as_numpy("logits")
    value, index, label = first.decode().split(":")
    assert (index, label) == ("2", "bluish")
    assert float(value) == pytest.approx(float(logits_of(BLUE)[2]), rel=1e-4)
    assert float(second.decode().split(":")[0]) < float(value)


def test_json_by_hand(client: httpx.Client) -> None:
    image = base64.b64encode(encode(RED)).decode()
    body = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}]}
    body["outputs"] = [{"name": "logits", "parameters": {"classification": 1}}]  # type: ignore[list-item]
    answer = client.post(INFER, json=body)
    assert answer.status_code == 200
    (output,) = answer.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 1])
    assert output["data"][0].endswith(":0:reddish")
    assert "id" not in answer.json()
    assert "infer;dur=" in answer.headers["server-timing"]
    flat = {"inputs": [{"name": "input", "shape": [1, 3, 8, 8], "datatype": "FP32"}]}
    flat["inputs"][0]["data"] = pixels(RED).ravel().tolist()
    logits = client.post(INFER, json=flat).json()["outputs"][0]["data"]
    np.testing.assert_allclose(logits, logits_of(RED), rtol=1e-5)


def test_what_triton_is_told_when_it_is_wrong(asked: Any) -> None:
    good = pixels(RED)

    def fails(given: triton.InferInput, model: str = "tiny", **options: Any) -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as caught:
            asked.infer(model, [given], **options)
        return caught.value.status(), caught.value.message()

    assert fails(tensor(good, "FP32"), "other") == (
        "404",
        "no model is named 'other' here; expected: tiny",
    )
    assert fails(tensor(good, "FP32"), model_version="1")[0] == "404"
    assert fails(tensor(good, "FP32", "pixels")) == (
        "422",
        "the model has no input 'pixels'; expected: input=float32[batch,3,8,8], or BYTES named image",
    )
    assert fails(tensor(good[:, :2], "FP32"))[1].startswith("the shape of input is wrong")
    assert fails(tensor(good.astype(np.float64), "FP64"))[1].startswith("the datatype of input is wrong")
    assert fails(tensor(images(b"no image"), "BYTES"))[0] == "415"
    assert fails(tensor(images(b""), "BYTES"))[0] == "400"
    assert fails(tensor(np.repeat(good, 5, axis=0), "FP32")) == (
        "413",
        "the request has 5 images, more than 4; send them in several requests",
    )
    wrong = [triton.InferRequestedOutput("probabilities")]
    assert fails(tensor(good, "FP32"), outputs=wrong)[1].startswith("the model has no output 'probabilities'")
    many = [triton.InferRequestedOutput("logits", class_count=6)]
    assert fails(tensor(good, "FP32"), outputs=many)[0] == "422"
    assert fails(tensor(good, "FP32"), request_compression_algorithm="gzip") == (
        "415",
        "the body is compressed; send it as it is",
    )
    not_finite = tensor(np.full_like(good, np.nan), "FP32")
    in_json = [triton.InferRequestedOutput("logits", binary_data=False)]
    assert fails(not_finite, outputs=in_json)[1].startswith("logits has values that JSON cannot hold")
    assert np.isnan(asked.infer("tiny", [not_finite]).as_numpy("logits")).all()


def described(**changes: Any) -> bytes:
    given = {"name": "input", "shape": [1, 3, 8, 8], "datatype": "FP32", **changes}
    return json.dumps({"inputs": [given]}).encode()


ZEROS = [0.0] * 192
SIZE = {"parameters": {"binary_data_size": 768}}


@pytest.mark.parametrize(
    ("body", "length", "status", "says"),
    [
        (b"nothing", None, 400, "the body is not JSON"),
        (b"[" * 100_000, None, 400, "the JSON body has too many parts"),
        (
            described(data={str(number): 0 for number in range(1100)}),
            None,
            400,
            "the JSON body has too many parts",
        ),
        (described(data=["1"] * 1100), None, 400, "the JSON body has too many parts"),
        (
            described(parameters={"binary_data_size": "\ud800"}),
            None,
            400,
            r"the binary_data_size is \ud800, but",
        ),
        (b"{}", None, 422, "inputs: field required"),
        (b'{"inputs": []}', None, 422, "inputs: list should have at least 1 item"),
        (b'{"inputs": [{"name": "input"}]}', None, 422, "inputs.0.shape: field required"),
        (described(shape=[-1, 3, 8, 8]), None, 422, "inputs.0.shape.0"),
        (described(shape=[0, 3, 8, 8]), None, 422, "the request has no image"),
        (described(), None, 422, "the data of input must be a list of numbers"),
        (described(data=["1"] * 192), None, 422, "the data of input must be a list of numbers"),
        (described(data=[[1, 2], [3]]), None, 422, "the data of input must be a list of numbers"),
        (described(data=[10**400] * 192), None, 422, "the data of input must be a list of numbers"),
        (described(data=ZEROS[1:]), None, 422, "the data of input is not of its shape; expected: 192 values"),
        (described(**SIZE), 9999, 400, "Inference-Header-Content-Length is 9999"),
        (described(**SIZE), -1, 400, "Inference-Header-Content-Length must be a whole number"),
        (described(**SIZE) + bytes(767), None, 400, "the body is not JSON"),
        (described(**SIZE) + bytes(767), len(described(**SIZE)), 400, "the binary_data_size is 768, but 767"),
        (described() + bytes(4), len(described()), 400, "4 bytes follow the JSON, and no input"),
        (described(datatype="BYTES", shape=[1, 2]), None, 422, "the shape of the images is wrong"),
        (
            described(datatype="BYTES", shape=[1], data=[7]),
            None,
            422,
            "images in JSON must be a list of base64",
        ),
        (described(datatype="BYTES", shape=[2], data=["aa"]), None, 422, "the data is not of its shape"),
        (described(datatype="BYTES", shape=[1], data=["?"]), None, 400, "the image is not base64"),
    ],
)
def test_what_is_wrong_is_said(
    client: httpx.Client, body: bytes, length: int | None, status: int, says: str
) -> None:
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.json()["error"].startswith(says)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "code"}


def test_images_that_are_cut_short(client: httpx.Client) -> None:
    image = encode(RED)
    for raw in (struct.pack("<I", len(image) + 1) + image, b"\x01\x00", struct.pack("<I", 2**32 - 1)):
        head = described(datatype="BYTES", shape=[1], parameters={"binary_data_size": len(raw)})
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = client.post(INFER, content=head + raw, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


def test_other_errors_have_the_form_of_the_protocol(client: httpx.Client) -> None:
    assert client.get("/v2/nothing").json() == {
        "error": "there is nothing at /v2/nothing; the routes are listed at /docs.json",
        "code": "not_found",
    }
    assert client.get(INFER).json()["error"] == f"{INFER} does not accept GET; use POST"
    too_large = client.post(INFER, content=bytes(200_001))
    assert (too_large.status_code, too_large.json()["code"]) == (413, "image_too_large")
    assert isinstance(too_large.json()["error"], str)


def test_rows_share_the_threads_and_the_queue_with_all_others(server: Any) -> None:
    outcomes: list[np.ndarray] = []

    def ask(colour: tuple[int, int, int]) -> None:
        own = triton.InferenceServerClient(server.url.removeprefix("http://"))
        for _ in range(5):
            result = own.infer("tiny", [tensor(pixels(colour, RED, colour), "FP32")])
            outcomes.append(result.as_numpy("logits")[2] - logits_of(colour))
        own.close()

    threads = [threading.Thread(target=ask, args=((30 * one, 20, 5),)) for one in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 30
    assert max(float(np.abs(one).max()) for one in outcomes) < 1e-4


def test_the_routes_are_counted_under_few_names_and_described(client: httpx.Client) -> None:
    label = route_table().label
    assert label("/v2/models/a/versions/b/infer") == label("/v2/models/c/infer") == "/v2/models/{name}/infer"
    assert label("/v2/models/a/b/c") == "/v2/models/{name}"
    paths = client.get("/docs.json").json()["paths"]
    routes = {path for path in paths if path.startswith("/v2")}
    model = "/v2/models/{name}"
    assert routes == {
        *("/v2", "/v2/health/live", "/v2/health/ready"),
        *(
            base + verb
            for base in (model, model + "/versions/{version}")
            for verb in ("", "/ready", "/infer")
        ),
    }


def test_numbers_are_read_to_the_bit() -> None:
    from pinnace.models.bundle.signature import TensorSpec

    limits = InputLimits(TensorSpec("x", "float32", ("batch", 2)), 4, 9)
    text = (
        b'{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 0.1], [1e400, -0.0]]}]}'
    )
    first, second = read_items(parse_request(text, limits), memoryview(b""), limits)
    assert first.tolist() == [[1.0, float(np.float32(0.1))]]
    assert second.tolist() == [[float("inf"), 0.0]]
