"""How fast the server answers, as ratios to the same work in process, without HTTP.

    python benchmarks/serving.py efficientnet_lite0.bundle photo.jpg
    python benchmarks/serving.py efficientnet_lite0.bundle photo.jpg --peers all
    python benchmarks/serving.py efficientnet_lite0.bundle photo.jpg --tuned --peers fastapi-onnx

The base limit is the plain pipeline (Pillow, NumPy, ONNX Runtime fp32) in one single-threaded process for
each CPU; it is measured before and after each server, in the same run. A server is started and driven with
`wrk` (a package of Debian), which takes its share of the same CPUs. Peers (`peers.py`) serve the same model;
each is installed in an environment of its own, below `--cache`, the first time. CPU time and memory are those
of the server and all its processes. The load goes to this machine only. A profile of `pinnace tune` is
left out; with --tuned a second server of Pinnace uses it, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.sysfs import Sysfs
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.cpus import available_cpus
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.selection import select

sys.path.insert(0, str(Path(__file__).parent))
from load import Target, request_bytes
from peers import PEERS

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pinnace" / "peers"
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "%s"
wrk.body = io.open("%s", "rb"):read("*all")
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""
PINNACE = "pinnace"
TUNED = "pinnace, tuned"
FORM = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n%s\r\n--b--\r\n'


@dataclass(frozen=True)
class Row:
    """One measurement: images a second, milliseconds, CPU milliseconds an image, MB, failed requests."""

    rate: float
    p50: float
    p99: float
    cpu: float
    memory: float
    errors: int


class PlainPipeline:
    """What most people would write: decode, resize the whole, crop, normalise, run, sort."""

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        path = str(bundle.path(bundle.variant("onnx-fp32").file))
        self._session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self._input = bundle.manifest.signature.inputs[0].name
        self._spec: Preprocess = bundle.preprocess
        self._mean = np.array(self._spec.mean, np.float32)
        self._std = np.array(self._spec.std, np.float32)

    def __call__(self, data: bytes) -> list[int]:
        """The five most probable classes of an encoded image."""
        image = Image.open(io.BytesIO(data)).convert("RGB")
        spec = self._spec
        assert isinstance(spec.resize, int)
        assert spec.crop is not None
        scale = spec.resize / min(image.size)
        filter = Image.Resampling[spec.interpolation.upper()]
        image = image.resize((int(image.width * scale), int(image.height * scale)), filter)
        height, width = spec.crop
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
        x = (np.asarray(image, np.float32) / 255 - self._mean) / self._std
        x = np.ascontiguousarray(x.transpose(2, 0, 1)[np.newaxis])
        logits = self._session.run(None, {self._input: x})[0][0]
        exponentials = np.exp(logits - logits.max())
        return [int(index) for index in np.argsort(-exponentials / exponentials.sum())[:5]]


def base_process(bundle: Path, photo: Path, seconds: float) -> None:
    """Print images a second, milliseconds, CPU milliseconds and MB of the plain pipeline in this process."""
    pipeline, data = PlainPipeline(Bundle.open(bundle)), photo.read_bytes()
    for _ in range(10):
        pipeline(data)
    times = []
    start, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() < start + seconds:
        begun = time.perf_counter()
        pipeline(data)
        times.append(1000 * (time.perf_counter() - begun))
    rate = len(times) / (time.perf_counter() - start)
    used = 1000 * (time.process_time() - cpu) / len(times)
    p50, p99 = np.percentile(times, (50, 99))
    print(rate, p50, p99, used, psutil.Process().memory_full_info().pss / 1e6)


def base(bundle: Path, photo: Path, seconds: float, processes: int) -> Row:
    """The plain pipeline in so many processes at once."""
    command = [sys.executable, __file__, str(bundle), str(photo), "--seconds", str(seconds), "--base"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    outputs = [process.communicate()[0] for process in running]
    rate, p50, p99, cpu, memory = np.array([[float(n) for n in text.split()] for text in outputs]).T
    return Row(rate.sum(), p50.mean(), p99.mean(), cpu.mean(), memory.sum(), 0)


def drive(server: psutil.Process, script: Path, url: str, connections: int, seconds: float) -> Row:
    """Let `wrk` ask over so many connections."""
    family = [server, *server.children(recursive=True)]
    before = cpu_seconds(family)
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
        url,
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(family) - before
    (line,) = [line for line in output.splitlines() if line.startswith("RESULT")]
    requests, duration, p50, p99, errors = (int(number) for number in line.split()[1:])
    memory = sum(process.memory_full_info().pss for process in family) / 1e6
    return Row(
        requests / duration * 1e6, p50 / 1000, p99 / 1000, 1000 * used / max(1, requests), memory, errors
    )


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """User and system time of all of them."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def wait_until_ready(server: subprocess.Popen[bytes], port: int, request: bytes) -> None:
    """Wait until an image is answered: not every peer has a probe."""

    async def asked() -> bool:
        target = Target("127.0.0.1", port, timeout=5)
        for _ in range(600):
            if (await target.send(request)).status == 200:
                return True
            if server.poll() is not None:
                return False
            await asyncio.sleep(0.1)
        return False

    if not asyncio.run(asked()):
        stop(server)
        sys.exit(f"the server does not answer: {server.args!r}")


def start(name: str, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start Pinnace, or a peer."""
    if name not in (PINNACE, TUNED):
        return PEERS[name].start(arguments.cache / name, arguments.bundle, arguments.port, available_cpus())
    command = [sys.executable, "-m", "pinnace.cli.main", "serve", str(arguments.bundle)]
    command += ["--port", str(arguments.port), *arguments.options]
    if name == PINNACE:
        return subprocess.Popen([*command, "--no-profile"], env=os.environ, stderr=subprocess.DEVNULL)
    chosen = select(Bundle.open(arguments.bundle))
    if chosen.profile is None:
        sys.exit(chosen.note or f"{arguments.bundle} has no profile; pinnace tune writes one")
    print(chosen.note, file=sys.stderr)
    return subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and all its processes: LitServe leaves its own behind, which would answer next."""
    try:
        family = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for process in psutil.wait_procs(family, timeout=5)[1]:
        process.kill()


def measure(arguments: argparse.Namespace, folder: Path) -> bool:
    """Print the table; whether every request was answered with 200."""
    photo = arguments.photo.read_bytes()
    bodies = {
        "raw": ("image/jpeg", photo),
        "multipart": ("multipart/form-data; boundary=b", FORM % photo),
    }
    for name, (content_type, body) in bodies.items():
        (folder / name).write_bytes(body)
        (folder / f"{name}.lua").write_text(LUA % (content_type, folder / name))
    content_type, body = bodies["multipart"]
    request = request_bytes("/classify", body, {"Content-Type": content_type})
    cpus, url = available_cpus(), f"http://127.0.0.1:{arguments.port}/classify"
    alone = base(arguments.bundle, arguments.photo, arguments.seconds, 1)
    plain = [base(arguments.bundle, arguments.photo, arguments.seconds, cpus)]
    show_head(cpus, alone, plain[0])
    good = True
    for name in (PINNACE, *((TUNED,) if arguments.tuned else ()), *arguments.peers):
        server = start(name, arguments)
        rows: list[tuple[str, int, Row]] = []
        try:
            wait_until_ready(server, arguments.port, request)
            process = psutil.Process(server.pid)
            drive(process, folder / "multipart.lua", url, 2 * cpus, 3)
            for connections in arguments.connections:
                both = name == TUNED or (name == PINNACE and not arguments.tuned)
                for kind in bodies if both else ("multipart",):
                    row = drive(process, folder / f"{kind}.lua", url, connections, arguments.seconds)
                    rows.append((kind, connections, row))
        finally:
            stop(server)
        plain.append(base(arguments.bundle, arguments.photo, arguments.seconds, cpus))
        show(name, plain[-2:], rows)
        good = good and all(row.errors == 0 for _, _, row in rows)
    print("base limit: " + ", ".join(f"{row.rate:.1f}" for row in plain) + " images/s")
    return good


def show_head(cpus: int, alone: Row, plain: Row) -> None:
    """Print the machine and the head of the table."""
    print(f"{cpus} CPUs, {read_cpu(Sysfs()).model}")
    print(f"base limit, {cpus} processes: {plain.cpu:.1f} ms of CPU an image, {plain.memory:.0f} MB")
    print(f"one process alone: {alone.rate:.1f} images/s, p50 {alone.p50:.1f} ms, p99 {alone.p99:.1f} ms")
    head = (
        "server",
        "body",
        "connections",
        "images/s",
        "ratio",
        "p50 ms",
        "p99 ms",
        "CPU",
        "memory",
        "errors",
    )
    print(("| {} " * len(head)).format(*head) + "|")
    print("|---" * len(head) + "|", flush=True)


def show(name: str, plain: list[Row], rows: list[tuple[str, int, Row]]) -> None:
    """Print what was measured; the ratios are to the mean of the base limits before and after."""
    rate, cpu, memory = (np.mean([getattr(row, name) for row in plain]) for name in ("rate", "cpu", "memory"))
    for body, connections, row in rows:
        print(
            f"| {name} | {body} | {connections} | {row.rate:.1f} | {row.rate / rate:.2f} | {row.p50:.1f} "
            f"| {row.p99:.1f} | {row.cpu / cpu:.2f} | {row.memory / memory:.2f} | {row.errors} |",
            flush=True,
        )


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--port", type=int, default=3902)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16, 64])
    names = [*PEERS, "all"]
    parser.add_argument(
        "--peers", nargs="+", default=[], choices=names, metavar="PEER", help=", ".join(names)
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the environments of peers are")
    parser.add_argument("--tuned", action="store_true", help="a second server, with the bundle's profile")
    parser.add_argument("--base", action="store_true", help="one process of the base limit, and nothing else")
    parser.add_argument("options", nargs="*", help="more options for pinnace serve, after --")
    arguments = parser.parse_args()
    if "all" in arguments.peers:
        arguments.peers = list(PEERS)
    if arguments.base:
        base_process(arguments.bundle, arguments.photo, arguments.seconds)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="pinnace-serving-") as name:
        sys.exit(0 if measure(arguments, Path(name)) else 1)


if __name__ == "__main__":
    main()
