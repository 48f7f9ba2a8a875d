"""What is written for KServe is valid by its CRDs, and the container's command serves /mnt/models."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from pinnace.models.bundle.bundle import Bundle
from pinnace.serving.packaging.kserve import service_name
from pinnace.serving.settings import ServerSettings, environment_variable
from support.command_line import PINNACE, run_here
from support.manifests import read, schemas
from support.ports import free_port
from support.server import Server, clean_environment
from support.tiny_bundle import build_bundle, encode, logits_of

pytestmark = pytest.mark.slow

RED = (250, 10, 20)
MODELS = "/mnt/models"

# In a mount namespace of its own a process sees a /mnt that has nothing but the model.
INSIDE = 'mount -t tmpfs none /mnt && mkdir /mnt/models && mount --bind "$0" /mnt/models && exec "$@"'


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pinnace package --kserve` writes for a model whose name no service may have."""
    folder = tmp_path_factory.mktemp("kserve")
    build_bundle(folder / "tiny.bundle", name="Tiny_Net")
    outcome = run_here("package", "tiny.bundle", "--kserve", "-o", "out", "--json", folder=folder)
    assert (outcome.status, outcome.json["models"]) == (0, ["tiny-net"])
    return folder / "out"


@pytest.fixture(scope="module")
def container(package: Path) -> dict[str, Any]:
    (runtime,) = read(package / "cluster-serving-runtime.yaml")
    (found,) = runtime["spec"]["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def served(
    package: Path, container: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The container's command in an empty folder, with the model where KServe puts it."""
    folder = tmp_path_factory.mktemp("container")
    port, metrics_port = free_port(), free_port()
    replaced = {container["ports"][0]["containerPort"]: port, 8081: metrics_port, "0.0.0.0": "127.0.0.1"}
    args = [str(replaced.get(int(arg) if arg.isdecimal() else arg, arg)) for arg in container["args"]]
    assert container["command"] == ["pinnace"]
    command = [*PINNACE, *args]
    model = str(package / "tiny-net.bundle")
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c", INSIDE, model]
    if subprocess.run(
        [*private, "test", "-f", f"{MODELS}/manifest.json"], check=False, capture_output=True
    ).returncode:
        command = [model if one == MODELS else one for one in command]  # no such namespaces here
    else:
        command = [*private, *command]
    environment = {one["name"]: one["value"] for one in container["env"]}
    environment |= {"PINNACE_METRICS_PORT": str(metrics_port), "PINNACE_DRAIN": "0", "PINNACE_WORKERS": "1"}
    home = {**clean_environment(folder / "bentoml"), "TMPDIR": str(folder)}
    environment["BENTOML_HOME"] = home["BENTOML_HOME"]
    (folder / "empty").mkdir()
    server = Server.start(command, port, folder / "log", env={**home, **environment}, cwd=folder / "empty")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def test_every_object_is_valid(package: Path) -> None:
    known = schemas()
    # `kubectl apply -f FOLDER` reads each of these, and nothing below.
    assert {path.name for path in package.iterdir() if path.suffix in (".json", ".yaml", ".yml")} == {
        "cluster-serving-runtime.yaml",
        "inference-services.yaml",
    }
    for one in (one for path in sorted(package.glob("*.yaml")) for one in read(path)):
        validator = jsonschema.Draft202012Validator(known[f"{one['apiVersion']} {one['kind']}"])
        validator.validate(one)
        wrong = copy.deepcopy(one)
        wrong["spec"]["misspelt"] = wrong["spec"].popitem()[1]
        assert not validator.is_valid(wrong)


def test_runtime_service_and_image_fit_together(package: Path, container: dict[str, Any]) -> None:
    (runtime,) = read(package / "cluster-serving-runtime.yaml")
    (service,) = read(package / "inference-services.yaml")
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] == runtime["spec"]["supportedModelFormats"][0]["name"]
    folder = package / model["storageUri"].removeprefix("pvc://models/")
    assert Bundle.open(folder).name == service["metadata"]["name"] == "tiny-net"
    Bundle.open(folder).check_files()
    known = {environment_variable(name) for name in ServerSettings.model_fields}
    assert {one["name"] for one in container["env"]} - {"BENTOML_HOME"} <= known
    port = container["ports"][0]["containerPort"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port
    (wheel,) = (package / "image" / "wheels").iterdir()
    assert (
        f"./wheels/{wheel.name} \\\n    --hash=sha256:"
        in (package / "image" / "requirements.txt").read_text()
    )


def test_the_command_of_the_container_answers_as_a_v2_server(served: Server) -> None:
    client = triton.InferenceServerClient(served.url.removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny-net")
        assert client.get_model_metadata("tiny-net")["inputs"][0]["shape"] == [-1, 3, 8, 8]
        given = triton.InferInput("image", [1], "BYTES")
        given.set_data_from_numpy(np.array([encode(RED)], dtype=np.object_))
        logits = client.infer("tiny-net", [given]).as_numpy("logits")
        np.testing.assert_allclose(logits[0], logits_of(RED), rtol=1e-5)
        classes = triton.InferRequestedOutput("logits", class_count=1)
        (best,) = client.infer("tiny-net", [given], outputs=[classes]).as_numpy("logits")[0]
        assert best.decode().endswith(":0:reddish")
        for model, wanted, status in [("other", "logits", "404"), ("tiny-net", "scores", "422")]:
            with pytest.raises(InferenceServerException) as caught:
                client.infer(model, [given], outputs=[triton.InferRequestedOutput(wanted)])
            assert caught.value.status() == status
    finally:
        client.close()


def test_the_server_reads_what_lies_in_mnt_models(served: Server, container: dict[str, Any]) -> None:
    assert MODELS in container["args"]
    assert "tiny-net is ready on" in served.log


@pytest.mark.parametrize(
    ("name", "service"), [("resnet50", "resnet50"), ("My Net/2", "my-net-2"), ("3d_", "d"), ("é", "model")]
)
def test_the_name_is_one_that_a_service_may_have(name: str, service: str) -> None:
    assert service_name(name) == service


def test_what_cannot_be_is_said(package: Path, tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "tiny.bundle")

    def says(*arguments: str) -> str:
        outcome = run_here("package", *arguments, "-o", "x", folder=tmp_path)
        assert outcome.status == 2
        return outcome.err.splitlines()[0]

    assert says(str(bundle), "--kserve", "--name", "My_Net") == "error: a service cannot be named My_Net"
    assert says(str(bundle), str(bundle), "--kserve") == "error: two services have the same name: tiny, tiny"
    assert says(str(bundle), "--kserve", "--triton").endswith("have no meaning with --triton")
    assert says(str(bundle), "--name", "My Net") == "error: BentoML cannot take the name My Net"
    gpu = run_here("package", str(bundle), "--kserve", "--device", "cuda", "-o", "gpu", folder=tmp_path)
    assert gpu.status == 0
    (runtime,) = read(tmp_path / "gpu" / "cluster-serving-runtime.yaml")
    assert runtime["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "onnxruntime-gpu==" in (tmp_path / "gpu" / "image" / "requirements.txt").read_text()
