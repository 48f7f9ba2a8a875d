"""A real server of several kinds of models, asked by HTTP, by the clients and by the command line."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import scipy.special
from PIL import Image

from pinnace.clients import AsyncClient, Client, Refused
from pinnace.latency.subjects.http import HttpSubject
from pinnace.models.photographs import photographs
from support.browser import Visit, chromium
from support.command_line import PINNACE, CommandLine, run_here
from support.meanings import answer_by_hand, write_network
from support.ports import free_port
from support.server import Server, clean_environment

pytestmark = pytest.mark.slow

CAT = photographs()[0]
LABELS = ("cat", "indoor", "car", "boat")
KINDS = {
    "classes": ("logits", ()),
    "soft": ("softmax", ()),
    "tags": ("sigmoid", ("--labels", "labels.txt", "--threshold", "0.4")),
    "vectors": ("normalised", ()),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks, and their bundles."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "labels.txt").write_text("\n".join(LABELS))
    for name, (end, options) in KINDS.items():
        write_network(folder / f"{name}.onnx", end)
        size = ("--resize", "8x8", "--crop", "8x8")
        words = ("export", f"file:{name}.onnx", "-o", f"{name}.bundle", *size, *options)
        assert run_here(*words, folder=folder).status == 0
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    command = [*PINNACE, "serve", *(str(folder / f"{name}.bundle") for name in KINDS), "--port", str(port)]
    server = Server.start([*command, "--workers", "1"], port, home / "log", env=clean_environment(home))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def by_hand(folder: Path, name: str, image: Path = CAT) -> np.ndarray:
    return answer_by_hand(folder / f"{name}.onnx", image)


def test_the_models_say_what_they_answer_with(client: Client) -> None:
    found = {model.name: model.outputs for model in client.models()}
    assert {name: outputs.meaning for name, outputs in found.items() if outputs} == {
        "classes": "logits",
        "soft": "probabilities",
        "tags": "sigmoid",
        "vectors": "embedding",
    }
    assert found["tags"] is not None
    assert found["tags"].threshold == 0.4
    assert found["vectors"] is not None
    assert found["vectors"].normalised is True


def test_probabilities_are_those_of_the_network(client: Client, folder: Path) -> None:
    want = {"classes": scipy.special.softmax(by_hand(folder, "classes")), "soft": by_hand(folder, "soft")}
    for name, scores in want.items():
        answer = client.classify(CAT, model=name)
        assert answer.threshold is None
        for one in answer.predictions:
            assert one.probability == pytest.approx(scores[one.index], abs=1e-5)
            assert one.above_threshold is None


@pytest.mark.parametrize("threshold", [None, 0.0, 0.1, 0.9])
def test_several_labels(client: Client, folder: Path, threshold: float | None) -> None:
    scores = by_hand(folder, "tags")
    answer = client.classify(CAT, model="tags", threshold=threshold)
    reached = 0.4 if threshold is None else threshold
    assert answer.threshold == reached
    want = {label for label, score in zip(LABELS, scores, strict=True) if score >= reached}
    assert set(answer.labels) == want
    (from_batch,) = client.classify_batch([CAT], model="tags", threshold=threshold)
    assert from_batch.predictions == answer.predictions  # type: ignore[union-attr]

    async def ask() -> set[str]:
        async with AsyncClient(client.url) as other:
            return set((await other.classify(CAT, model="tags", threshold=threshold)).labels)

    assert asyncio.run(ask()) == want


@pytest.mark.parametrize("way", ["query", "form", "json"])
def test_the_threshold_comes_in_every_way(http: httpx.Client, way: str) -> None:
    data, path = CAT.read_bytes(), "/models/tags/classify"
    response = {
        "query": lambda: http.post(path, content=data, params={"threshold": 0.25}),
        "form": lambda: http.post(path, files={"image": data}, data={"threshold": "0.25"}),
        "json": lambda: http.post(path, json={"image": base64.b64encode(data).decode(), "threshold": 0.25}),
    }[way]()
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["threshold"] == 0.25
    assert all(one["above_threshold"] == (one["probability"] >= 0.25) for one in body["predictions"])


@pytest.mark.parametrize(
    ("model", "threshold", "message"),
    [
        ("tags", "2", "a threshold must be between 0 and 1"),
        ("tags", "much", "threshold must be a number from 0 to 1, not much"),
        ("classes", "0.5", "a threshold applies to models of which several labels may be true"),
    ],
)
def test_a_threshold_that_does_not_apply(
    http: httpx.Client, model: str, threshold: str, message: str
) -> None:
    response = http.post(
        f"/models/{model}/classify", content=CAT.read_bytes(), params={"threshold": threshold}
    )
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


def test_an_answer_of_one_class_is_as_it_was(http: httpx.Client) -> None:
    body = http.post("/classify", content=CAT.read_bytes()).json()
    assert set(body) == {"model", "version", "variant", "runtime", "predictions", "timing_ms"}
    assert all(set(one) == {"label", "index", "probability"} for one in body["predictions"])


def test_an_embedding(http: httpx.Client, client: Client, folder: Path) -> None:
    want = by_hand(folder, "vectors")
    found = client.embed(CAT, model="vectors")
    np.testing.assert_allclose(found.embedding, want, atol=1e-5)
    assert found.normalised
    assert found.model == "vectors"
    form = http.post("/models/vectors/embed", files={"image": CAT.read_bytes()}).json()
    np.testing.assert_allclose(form["embedding"], want, atol=1e-5)
    text = base64.b64encode(CAT.read_bytes()).decode()
    data = http.post("/models/vectors/embed", json={"image": text}).json()
    np.testing.assert_allclose(data["embedding"], want, atol=1e-5)

    async def ask() -> tuple[float, ...]:
        async with AsyncClient(client.url) as other:
            return (await other.embed(CAT, model="vectors")).embedding

    np.testing.assert_allclose(asyncio.run(ask()), want, atol=1e-5)


def test_each_kind_sends_to_the_route_that_answers(http: httpx.Client, client: Client) -> None:
    classified = http.post("/models/vectors/classify", content=CAT.read_bytes())
    assert classified.status_code == 422
    assert "answers with an embedding of 4 numbers" in classified.json()["error"]["message"]
    assert "POST /embed" in classified.json()["error"]["hint"]
    embedded = http.post("/models/tags/embed", content=CAT.read_bytes())
    assert embedded.status_code == 422
    assert "answers with scores of 4 classes" in embedded.json()["error"]["message"]
    assert "POST /classify" in embedded.json()["error"]["hint"]
    with pytest.raises(Refused):
        client.embed(CAT)
    top_k = http.post("/models/vectors/embed", content=CAT.read_bytes(), params={"top_k": 1})
    assert top_k.status_code == 422


def test_embed_by_the_command_line(
    server: Server, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.npy"
    arguments = ("embed", *photographs(), "--url", server.url, "--model", "vectors", "-o", out)
    assert CommandLine(capsys)(*arguments).status == 0
    want = np.stack([by_hand(folder, "vectors", image) for image in photographs()])
    np.testing.assert_allclose(np.load(out), want, atol=1e-5)


def test_classify_by_the_command_line_with_a_threshold(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("classify", CAT, "--url", server.url, "--model", "tags", "--threshold", "0.2", "--json")
    (answer,) = CommandLine(capsys)(*arguments).json
    scores = by_hand(folder, "tags")
    assert answer["threshold"] == 0.2
    assert {one["label"] for one in answer["predictions"] if one["above_threshold"]} == {
        label for label, score in zip(LABELS, scores, strict=True) if score >= 0.2
    }


# OpenAI's form.


def data_url(image: Path = CAT) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode()


def test_embeddings_in_the_form_of_openai(http: httpx.Client, folder: Path) -> None:
    images = photographs()[:2]
    want = np.stack([by_hand(folder, "vectors", image) for image in images])
    asked = {"model": "vectors", "input": [data_url(image) for image in images]}
    body = http.post("/v1/embeddings", json=asked).json()
    assert (body["object"], body["model"]) == ("list", "vectors")
    assert [one["index"] for one in body["data"]] == [0, 1]
    np.testing.assert_allclose([one["embedding"] for one in body["data"]], want, atol=1e-5)
    packed = http.post("/v1/embeddings", json={**asked, "encoding_format": "base64"}).json()
    vectors = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in packed["data"]]
    np.testing.assert_allclose(vectors, want, atol=1e-5)
    one = http.post("/v1/embeddings", json={"model": "vectors", "input": data_url()}).json()
    np.testing.assert_allclose(one["data"][0]["embedding"], want[0], atol=1e-5)
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["vectors"]


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"model": "vectors", "input": "https://example.com/cat.jpg"}, 422, "nothing is fetched"),
        ({"model": "vectors", "input": "file:///etc/passwd"}, 422, "nothing is fetched"),
        ({"model": "vectors", "input": "data:image/png,raw"}, 422, "nothing is fetched"),
        ({"model": "vectors", "input": []}, 422, "input must be a data: URL"),
        ({"model": "vectors", "input": [1]}, 422, "input must be a data: URL"),
        ({"model": "vectors"}, 422, "input must be a data: URL"),
        ({"model": "vectors", "input": "data:;base64,!!"}, 400, "the image is not base64"),
        ({"model": "vectors", "input": "data:;base64,AAAA"}, 415, ""),
        ({"model": "nobody", "input": "data:;base64,AAAA"}, 404, "no model is named 'nobody' here"),
        ({"model": "tags", "input": "data:;base64,AAAA"}, 422, "answers with scores of 4 classes"),
        (
            {"model": "vectors", "input": "data:;base64,AA", "dimensions": 2},
            422,
            "dimensions cannot be chosen",
        ),
    ],
)
def test_what_openais_form_refuses(
    http: httpx.Client, asked: dict[str, object], status: int, message: str
) -> None:
    response = http.post("/v1/embeddings", json=asked)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert message in error["message"]


# Hugging Face's form.


def test_the_form_of_hugging_face(http: httpx.Client, folder: Path) -> None:
    logits = by_hand(folder, "classes")
    path, data = "/models/classes/classify", CAT.read_bytes()
    for function, scores in (
        (None, scipy.special.softmax(logits)),
        ("softmax", scipy.special.softmax(logits)),
        ("sigmoid", scipy.special.expit(logits)),
        ("none", logits),
    ):
        given = {} if function is None else {"function_to_apply": function}
        order = np.argsort(-scores)[:2]
        raw = http.post(path, content=data, params={"format": "hf", "top_k": 2, **given}).json()
        text = {"inputs": base64.b64encode(data).decode(), "parameters": {"top_k": 2, **given}}
        assert http.post(path, json=text, params={"format": "hf"}).json() == raw
        assert [one["label"] for one in raw] == [str(index) for index in order]
        np.testing.assert_allclose([one["score"] for one in raw], scores[order], atol=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"format": "xml"}, "format must be hf, not xml"),
        ({"function_to_apply": "softmax"}, "function_to_apply goes with format=hf"),
        (
            {"format": "hf", "function_to_apply": "tanh"},
            "function_to_apply must be one of softmax, sigmoid, none",
        ),
    ],
)
def test_what_hugging_faces_form_refuses(http: httpx.Client, params: dict[str, str], message: str) -> None:
    response = http.post("/classify", content=CAT.read_bytes(), params=params)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


def test_the_open_protocol_gives_the_output_that_is_meant(http: httpx.Client, folder: Path) -> None:
    for name in ("vectors", "tags"):
        described = http.get(f"/v2/models/{name}").json()["outputs"]
        assert described == [{"name": "answer", "datatype": "FP32", "shape": [-1, 4]}]
        pixels = Image.open(CAT).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        pixels.save(buffer, "PNG")
        tensor = {
            "name": "input",
            "datatype": "BYTES",
            "shape": [1],
            "data": [base64.b64encode(buffer.getvalue()).decode()],
        }
        answer = http.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).json()
        np.testing.assert_allclose(answer["outputs"][0]["data"], by_hand(folder, name), atol=1e-5)


def test_a_threshold_for_no_model_of_several_labels_is_told(folder: Path, tmp_path: Path) -> None:
    command = [
        *PINNACE,
        "serve",
        str(folder / "classes.bundle"),
        "--threshold",
        "0.3",
        "--port",
        str(free_port()),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=clean_environment(tmp_path), check=False
    )
    assert done.returncode == 2
    assert "the setting threshold applies to models of which several labels may be true" in done.stderr
    assert sys.executable not in done.stderr


# The JavaScript client, and the page that uses it.

SCRIPT = """
import { readFile } from "node:fs/promises";
import { Client, PinnaceError } from "pinnace-client";
const [url, path] = process.argv.slice(2);
const client = new Client(url);
const image = await readFile(path);
const answer = await client.classify(image, { model: "tags", threshold: 0.25 });
const [inBatch] = await client.classifyBatch([image], { model: "tags", threshold: 0.25, topK: 1 });
const { embedding, normalised } = await client.embed(image, { model: "vectors" });
const refused = await client.embed(image).catch((error) => error instanceof PinnaceError && error.status);
console.log(JSON.stringify({ answer, inBatch, embedding, normalised, refused }));
"""


def test_the_javascript_client(server: Server, folder: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed; on Debian: apt-get install nodejs")
    package = Path(__file__).parents[2] / "clients" / "js"
    command = [node, "--input-type=module", "-", server.url, str(CAT)]
    done = subprocess.run(command, cwd=package, input=SCRIPT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    scores = by_hand(folder, "tags")
    assert told["answer"]["threshold"] == 0.25
    for one in told["answer"]["predictions"]:
        assert one["above_threshold"] == (scores[one["index"]] >= 0.25)
    assert told["inBatch"]["predictions"] == told["answer"]["predictions"][:1]
    np.testing.assert_allclose(told["embedding"], by_hand(folder, "vectors"), atol=1e-5)
    assert (told["normalised"], told["refused"]) == (True, 422)


def test_the_page_shows_several_labels_and_vectors(server: Server, folder: Path) -> None:
    picture = {"name": CAT.name, "mimeType": "image/jpeg", "buffer": CAT.read_bytes()}
    scores = by_hand(folder, "tags")
    reached = {label for label, score in zip(LABELS, scores, strict=True) if score >= 0.4}
    with chromium() as browser:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        here = Visit(page)
        here.load(server.url)
        here.choose(picture)
        here.wait_for_answer()
        page.select_option("#model", "tags")
        page.locator("#answer-model", has_text="tags").wait_for()
        here.wait_for_answer()
        status = page.locator("#status").inner_text()
        labels, _, rest = status.rpartition(": ")
        assert rest == "40.0% or more"
        assert set(labels.split(", ")) == (reached or {"No label"})
        assert set(page.locator("#predictions .reached .label").all_inner_texts()) == reached
        here.check_looks()
        page.select_option("#model", "vectors")
        page.locator("#answer-model", has_text="vectors").wait_for()
        here.wait_for_answer()
        assert page.locator("#status").inner_text() == "An embedding of 4 numbers, of norm 1"
        shown = [float(word) for word in page.locator("#predictions .label").inner_text().split()]
        np.testing.assert_allclose(shown, by_hand(folder, "vectors"), atol=1e-4)
        here.check_looks()
        assert complaints == []


def test_bench_measures_a_model_that_embeds(server: Server) -> None:
    subject = HttpSubject(f"{server.url}/models/vectors")
    try:
        subject.call([0, 1])
        assert subject.info.model == "vectors"
        assert subject.stages().compute is not None
    finally:
        subject.close()


def test_a_server_of_vectors_alone_says_how_it_is_asked(folder: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [*PINNACE, "serve", str(folder / "vectors.bundle"), "--port", str(port), "--workers", "1"]
    server = Server.start(command, port, tmp_path / "log", env=clean_environment(tmp_path))
    try:
        server.wait_until_ready()
        found = httpx.post(f"{server.url}/embed", content=CAT.read_bytes()).json()
        np.testing.assert_allclose(found["embedding"], by_hand(folder, "vectors"), atol=1e-5)
        paths = httpx.get(f"{server.url}/docs.json").json()["paths"]
        assert {"/embed", "/v1/embeddings", "/models/{name}/embed"} <= set(paths)
        assert "/classify" not in paths
    finally:
        server.stop()
    assert f"curl -F image=@cat.jpg http://localhost:{port}/embed" in server.log
