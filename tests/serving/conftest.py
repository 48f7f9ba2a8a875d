"""A tiny bundle, and real servers that answer with it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Golden, Manifest, Parity, Tolerance, Variant
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.image.preprocess import Preprocess

REPOSITORY = Path(__file__).parents[2]
LABELS = ("reddish", "greenish", "bluish", "bright", "dark")
WEIGHTS = np.array([[3, -1, -1], [-1, 3, -1], [-1, -1, 3], [1, 1, 1], [-1, -1, -1]], dtype=np.float32)
BIAS = np.array([0.0, 0.1, 0.2, -0.5, -0.4], dtype=np.float32)
SIZE = 8

RUN = """
import sys
from pathlib import Path
from pinnace.cli.commands.serve import run
from pinnace.models.errors import PinnaceError
try:
    run(Path(sys.argv[1]))
except PinnaceError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""


def logits_of(colour: tuple[int, int, int]) -> np.ndarray:
    """What the model says of an image of one colour, computed without any of our code."""
    return WEIGHTS @ ((np.array(colour, dtype=np.float32) / 255 - 0.5) / 0.5) + BIAS


def build_bundle(
    folder: Path, *, weights: np.ndarray = WEIGHTS, name: str = "tiny", created: str = "2026-01-01T00:00:00Z"
) -> Path:
    """A bundle of a global average and one matrix; `weights` other than ours break its golden data."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    inputs = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    golden.write(
        folder / golden.FILE, {"input": inputs}, {"logits": inputs.mean(axis=(2, 3)) @ WEIGHTS.T + BIAS}
    )
    variant = Variant(
        "onnx-fp32",
        "onnx",
        "fp32",
        "model.onnx",
        _sha256(folder / "model.onnx"),
        (folder / "model.onnx").stat().st_size,
        Parity(0.0, 0.0, 1.0, 1.0, 2, "onnxruntime"),
        Tolerance(max_rel=1e-4),
    )
    manifest = Manifest(
        schema_version=1,
        name=name,
        source="file:tiny.onnx",
        preprocess=Preprocess(
            resize=(SIZE, SIZE),
            interpolation="bilinear",
            crop=None,
            color="RGB",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        ),
        labels="labels.txt",
        signature=Signature(
            (TensorSpec("input", "float32", ("batch", 3, SIZE, SIZE)),),
            (TensorSpec("logits", "float32", ("batch", len(LABELS))),),
        ),
        variants=(variant,),
        golden=Golden(golden.FILE, 2),
        files={name: _sha256(folder / name) for name in ("labels.txt", golden.FILE)},
        tools={},
        created=created,
    )
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode(colour: tuple[int, int, int], size: tuple[int, int] = (20, 14), format: str = "PNG") -> bytes:
    """An image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format)
    return buffer.getvalue()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail(f"the server was not ready in {seconds} s:\n{self.log}")

    def stop(self) -> None:
        """End it, and whatever is left of it."""
        workers = kill_on_exit(self.process)
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        workers()
        self.process.wait(5)


def kill_on_exit(process: subprocess.Popen[Any]) -> Callable[[], None]:
    """Remember the workers of a process; what is returned kills it and them, where they still run.

    Every worker leads a session of its own, so that the process group of the parent does not reach it.
    """
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        found = [parent, *parent.children(recursive=True)]

    def kill() -> None:
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    return kill


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a server: nothing of the user's, and every file it writes in a temporary folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PINNACE_", "BENTOML_"))}
    folder = tmp_path_factory.mktemp("bentoml")
    return {**env, "BENTOML_HOME": str(folder), "TMPDIR": str(folder)}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], bundle: Path
) -> Iterator[StartServer]:
    """Start a server that is ended with the session; settings are given without their prefix.

    Args of what is yielded:
        command: by default `RUN` with the tiny bundle.
        folder: where its temporary files go.
        variables: more of its environment.
    """
    servers: list[Server] = []

    def start(
        command: list[str] | None = None,
        folder: Path | None = None,
        variables: dict[str, str] | None = None,
        **settings: object,
    ) -> Server:
        port = free_port()
        log_file = tmp_path_factory.mktemp("logs") / "server.log"
        given = {f"PINNACE_{name.upper()}": str(value) for name, value in settings.items()}
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command or [sys.executable, "-c", RUN, str(bundle)],
                env={
                    **environment,
                    "TMPDIR": str(folder or environment["TMPDIR"]),
                    "PINNACE_PORT": str(port),
                    "PINNACE_HOST": "127.0.0.1",
                    **(variables or {}),
                    **given,
                },
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, port, log_file)
        servers.append(server)
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    """The server that most tests ask: small limits, one process, two images at once."""
    limits = {"max_body_bytes": 200_000, "max_pixels": 90_000, "max_batch_images": 4}
    limits |= {"max_header_bytes": 16_000, "header_timeout": 2, "upload_timeout": 2}
    server = start_server(workers=1, concurrency=2, drain=0.1, **limits)
    server.wait_until_ready()
    return server


@pytest.fixture(scope="module")
def small_server(start_server: StartServer) -> Iterator[Server]:
    """A server with room for three images."""
    server = start_server(workers=1, concurrency=1, queue=2, drain=0)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def tools() -> dict[str, Callable[..., object]]:
    """The helpers of this file; test modules cannot import each other."""
    return {
        "encode": encode,
        "logits_of": logits_of,
        "build_bundle": build_bundle,
        "free_port": free_port,
        "kill_on_exit": kill_on_exit,
    }
