"""A model repository is what Triton's own protobufs read, and ONNX Runtime runs the file as it says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from pinnace.cli.main import run
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import EngineInfo
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.serving.packaging.triton import build_repository, model_config


def parse(text: str) -> Any:
    """The configuration, read as Triton reads it: an unknown field is an error."""
    model_config_pb2 = pytest.importorskip(
        "tritonclient.grpc", reason="tritonclient and grpcio come with `dev`"
    ).model_config_pb2
    from google.protobuf import text_format

    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "models"
    assert run(["package", str(bundle), "--triton", "-o", str(folder)]) == 0
    return folder


def test_the_layout_is_that_of_a_model_repository(repository: Path) -> None:
    files = sorted(
        path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()
    )
    inside = ["tiny/1/model.onnx", "tiny/config.pbtxt", "tiny/labels.txt", "tiny/preprocess.json"]
    assert files == [".pinnace", *inside]
    assert json.loads((repository / "tiny" / "preprocess.json").read_text())["resize"] == [8, 8]


def test_the_configuration_is_true_of_the_model(repository: Path) -> None:
    config = parse((repository / "tiny" / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(repository / "tiny" / "1" / config.default_model_filename)
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "onnxruntime", 32)
    (given,), (answered,) = session.get_inputs(), session.get_outputs()
    (entry,), (result,) = config.input, config.output
    assert (entry.name, list(entry.dims)) == (given.name, list(given.shape[1:]))
    assert (result.name, list(result.dims)) == (answered.name, list(answered.shape[1:]))
    assert (
        entry.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[entry.data_type].name
        == "TYPE_FP32"
    )
    assert config.HasField("dynamic_batching")
    batch = np.zeros((config.max_batch_size, *entry.dims), np.float32)
    (logits,) = session.run([result.name], {entry.name: batch})
    labels = (repository / "tiny" / result.label_filename).read_text().splitlines()
    assert logits.shape == (32, len(labels))


def test_an_engine_keeps_its_batch_and_runs_on_the_gpu(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    engine = EngineInfo("onnx-fp32", "tensorrt", "10.3", "Linux x86_64", (1, 16))
    variant = dataclasses.replace(opened.variant(), format="tensorrt", engine=engine)
    config = parse(model_config(opened, variant, "tiny", "cpu"))
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    assert config.max_batch_size == 16
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU


def test_a_model_of_a_fixed_batch_is_not_batched(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    signature = opened.manifest.signature
    fixed = dataclasses.replace(
        signature,
        inputs=tuple(dataclasses.replace(spec, shape=(1, *spec.shape[1:])) for spec in signature.inputs),
        outputs=tuple(dataclasses.replace(spec, shape=(1, *spec.shape[1:])) for spec in signature.outputs),
    )
    one = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, signature=fixed))
    config = parse(model_config(one, one.variant(), "tiny", "cuda"))
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 3, 8, 8]
    assert not config.HasField("dynamic_batching")
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU


def test_what_cannot_be_packaged_for_triton_is_said(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="two bundles have the same name in Triton"):
        build_repository(Bundle.open(bundle), Bundle.open(bundle), folder=tmp_path / "x")
    with pytest.raises(UsageError, match="has no variant onnx-int9"):
        build_repository(Bundle.open(bundle), folder=tmp_path / "x", variant="onnx-int9")
    twice = ["--variant", "onnx-fp32", "--variant", "onnx-int8"]
    assert run(["package", str(bundle), "--triton", "-o", str(tmp_path / "x"), *twice]) == 2
    assert "one variant of each bundle" in capsys.readouterr().err
    changed = shutil.copytree(bundle, tmp_path / "changed.bundle")
    (changed / "model.onnx").write_bytes(b"other")
    with pytest.raises(CheckFailed, match="has changed since it was exported"):
        build_repository(Bundle.open(changed), folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()
