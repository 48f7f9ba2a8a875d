"""What a file is that no loader reads is said, and what to do with it."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest

from pinnace.models.errors import SourceError
from pinnace.models.loaders.base import LoadRequest
from pinnace.models.loaders.file import load
from pinnace.models.loaders.file_kinds import kind_of, why_not_a_model
from pinnace.models.source import Source
from support.errors import refusal


def _zip(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return data.getvalue()


def _tar(*names: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "what", "hint"),
    [
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer", "git lfs pull"),
        ("a.pth", b"\n<!DOCTYPE html><html>Sign in</html>", "a web page", "download again"),
        ("a.pt2", b"<html>", "a web page", "download again"),
        ("a.xml", b"<?xml version='1.0'?><net name='m'></net>", "OpenVINO's", "export the ONNX file"),
        ("a.pth", b'{"error": "Repository not found"}', "text", None),
        ("a.pth", _zip("archive/data.pkl", "archive/data/0")[:-30], "cut short", "download it again"),
        (
            "a.pth.gz",
            gzip.compress(b"weights", mtime=0),
            "compressed with gzip",
            "gunzip -c a.pth.gz > a.pth, then",
        ),
        (
            "a.pth",
            gzip.compress(b"weights", mtime=0),
            "compressed with gzip",
            "then pinnace export unpacked-a.pth",
        ),
        (
            "a.tgz",
            gzip.compress(_tar("b/w.pth"), mtime=0),
            "a compressed tar archive",
            "then pinnace export b/w.pth",
        ),
        ("a.pth.tar", _tar("notes", "w.pth"), "a tar archive", "tar xf a.pth.tar, then pinnace export w.pth"),
        ("a.zip", _zip("w.onnx"), "a zip archive", "unzip a.zip, then pinnace export w.onnx"),
        (
            "a.mar",
            _zip("MAR-INF/MANIFEST.json", "w.pt"),
            "an archive of TorchServe",
            "export torchserve:a.mar",
        ),
        ("a.keras", _zip("config.json", "model.weights.h5"), "Keras' own", 'load_model("a.keras")'),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5", 'load_model("a.h5")'),
        ("a.npz", _zip("fc.weight.npy"), "arrays of NumPy", "torch.save(model.state_dict()"),
        ("a.pkl", pickle.dumps({"fc.weight": [1]}), "a pickle of Python's", "torch.save(model.state_dict()"),
        ("a.pdparams", pickle.dumps({"fc.weight": [1]}), "PaddlePaddle's", "paddle2onnx"),
        ("a.tflite", b"\x1c\0\0\0TFL3", "TensorFlow Lite's", "--tflite a.tflite"),
        ("a.ort", b"\x20\0\0\0ORTM", "ONNX Runtime's own", "export the ONNX file"),
        ("a.engine", b"\x10\0\0\0", "an engine of TensorRT", "export the ONNX file"),
        ("a.mlmodel", b"\x08\x04\x12\x02", "Core ML's", "export the ONNX file"),
        ("saved_model.pb", b"\x08\x01\x12\x02", "TensorFlow's", "python -m tf2onnx.convert --saved-model"),
    ],
)
def test_what_no_loader_reads(tmp_path: Path, name: str, data: bytes, what: str, hint: str | None) -> None:
    (tmp_path / name).write_bytes(data)
    request = LoadRequest(Source("file", name), folder=str(tmp_path))
    message = refusal(SourceError, lambda: load(request))
    assert message.startswith(f"{tmp_path / name} is {what}")
    assert (hint or "it begins with") in message


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("net.pb", b"\x08\x08\x12\x07pytorch", "onnx"),
        ("NET.ONNX", b"\x08\x09\x3a\x02", "onnx"),
        ("net", b"\x08\x0a\x12\x07pytorch", "onnx"),
        ("net.onnx", _zip("net/data.pkl", "net/data/0"), "checkpoint"),
        ("net.onnx", _zip("net/constants.pkl", "net/code/a.py", "net/data.pkl"), "torchscript"),
        ("net.onnx", b"\x40\0\0\0\0\0\0\0{}", "checkpoint"),
        ("net.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "checkpoint"),
    ],
)
def test_a_wrong_suffix_does_not_matter(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert why_not_a_model(tmp_path / name) is None
    assert kind_of(tmp_path / name) == kind
