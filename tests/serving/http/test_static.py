"""The page over HTTP: who gets it, with what headers, and what it is made of; `browser/` looks at it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from support import example_pictures
from support.tiny_bundle import encode

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "serving" / "page"
FILES = sorted(file.name for file in FOLDER.iterdir() if file.suffix != ".html")
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (CHROME, True),
        ("text/html", True),
        ("Text/HTML; charset=utf-8", True),
        ("text/html, application/json", True),
        ("application/json;q=0.5, text/html", True),
        ("*/*", False),
        ("application/json", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=much", False),
        ("", False),
    ],
)
def test_who_names_html_gets_the_page(client: httpx.Client, accept: str, page: bool) -> None:
    response = client.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["vary"] == "Accept"
    if page:
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.text.startswith("<!doctype html>")
    else:
        assert response.json()["model"] == "tiny"


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
def test_every_file_is_guarded_and_kept_by_the_browser(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"Accept": CHROME})
    assert response.status_code == 200
    policy = dict(
        part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"Accept": CHROME, "If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("pinnace.js", "text/javascript; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml; charset=utf-8"),
        ("example-clock.jpg", "image/jpeg"),
    ],
)
def test_files_have_their_types(client: httpx.Client, name: str, media_type: str) -> None:
    assert client.get(f"/page/{name}").headers["content-type"] == media_type


def test_the_page_gets_the_published_client(client: httpx.Client) -> None:
    published = (REPOSITORY / "clients" / "js" / "pinnace.js").read_bytes()
    assert client.get("/page/pinnace.js").content == published


@pytest.mark.parametrize(
    "path", ["/page/index.html", "/page/", "/page/none.js", "/page/..%2fapp.py", "/page/%2e%2e/app.py"]
)
def test_nothing_else_is_there(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"Accept": CHROME})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_nothing_comes_from_elsewhere_and_nothing_is_missing() -> None:
    names = [
        "index.html",
        *(name for name in FILES if name.endswith((".css", ".js")) and name != "pinnace.js"),
    ]
    text = {name: (FOLDER / name).read_text(encoding="utf-8") for name in names}
    for name, content in text.items():
        assert not re.search(r"https?:|//\w+\.|@import|\burl\(|innerHTML", content), name
    assert not re.search(r" on\w+=| style=|<script(?! type=\"module\" src=)|<style", text["index.html"])
    linked = set(re.findall(r'(?:src|href|data-example)="page/([^"]+)"', text["index.html"]))
    docs = (FOLDER / "docs.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.| on\w+=| style=|<style", docs)
    linked |= set(re.findall(r'(?:src|href)="page/([^"]+)"', docs))
    reached = {"page.js"}
    while (
        more := {one for name in reached for one in re.findall(r'(?:from|import) "\./([^"]+)"', _text(name))}
        - reached
    ):
        reached |= more
    assert linked | reached == set(FILES)


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_the_models_are_listed(client: httpx.Client, bundle: Path) -> None:
    manifest = (bundle / "manifest.json").read_bytes()
    parity = {
        "max_abs": 0.0,
        "max_rel": 0.0,
        "cosine": 1.0,
        "top1_agreement": 1.0,
        "samples": 2,
        "runtime": "onnxruntime",
        "label_agreement": None,
        "max_rel_beyond_noise": None,
    }
    size = (bundle / "model.onnx").stat().st_size
    assert client.get("/models").json() == {
        "models": [
            {
                "name": "tiny",
                "version": hashlib.sha256(manifest).hexdigest()[:12],
                "created": "2026-01-01T00:00:00Z",
                "variant": "onnx-fp32",
                "runtime": "onnxruntime",
                "classes": 5,
                "labels": ["reddish", "greenish", "bluish", "bright", "dark"],
                "preprocess": {
                    "resize": [8, 8],
                    "interpolation": "bilinear",
                    "crop": None,
                    "color": "RGB",
                    "mean": [0.5, 0.5, 0.5],
                    "std": [0.5, 0.5, 0.5],
                    "exif": True,
                    "scale": 1 / 255,
                    "layout": "NCHW",
                    "dtype": "float32",
                    "centre": "round",
                    "aspect": "squeeze",
                },
                "input": {"name": "input", "dtype": "float32", "shape": ["batch", 3, 8, 8]},
                "outputs": {
                    "meaning": "logits",
                    "name": "logits",
                    "function": "softmax",
                    "classes": 5,
                    "normalised": None,
                    "threshold": None,
                    "evidence": "assumed",
                },
                "parity": parity,
                "variants": [
                    {
                        "name": "onnx-fp32",
                        "format": "onnx",
                        "precision": "fp32",
                        "bytes": size,
                        "parity": parity,
                    }
                ],
            }
        ]
    }


def test_a_model_answers_by_its_name(client: httpx.Client) -> None:
    image = encode((240, 20, 30))
    named = client.post("/models/tiny/classify", content=image, params={"top_k": 2}).json()
    assert named["predictions"][0]["label"] == "reddish"
    assert (
        named["predictions"]
        == client.post("/classify", content=image, params={"top_k": 2}).json()["predictions"]
    )


@pytest.mark.parametrize("name", ["other", "tiny/more", "TINY"])
def test_a_model_that_is_not_there(client: httpx.Client, name: str) -> None:
    response = client.post(f"/models/{name}/classify", content=b"x")
    assert response.status_code == 404
    assert response.json()["error"] == {
        "code": "unknown_model",
        "message": f"no model is named '{name}' here",
        "hint": "expected: tiny",
    }


def test_what_docs_json_promises_of_a_model_is_there(client: httpx.Client) -> None:
    promised = client.get("/docs.json").json()["components"]["schemas"]["Model"]
    assert list(client.get("/models").json()["models"][0]) == promised["required"]


def test_the_examples_are_what_their_script_draws() -> None:
    for name in example_pictures.EXAMPLES:
        with Image.open(FOLDER / name) as image:
            stored = np.asarray(image, dtype=np.int16)
        drawn = np.asarray(example_pictures.draw(name), dtype=np.int16)
        assert stored.shape == drawn.shape == (300, 400, 3)
        assert np.abs(stored - drawn).mean() < 3  # JPEG
