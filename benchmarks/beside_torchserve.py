"""TorchServe and `pinnace serve --torchserve` with the same archive, asked by the same clients.

Both get an archive of EfficientNet-Lite0 that `torch-model-archiver` makes here, and are asked in every way
that TorchServe has: with twelve photographs, as progressive JPEG, turned by EXIF, and of 24 megapixels. It
ends with 1 where five classes differ, or a probability by more than 1e-4. Then both are asked in turns as
fast as they answer.

    python -m venv /tmp/ts
    /tmp/ts/bin/pip install torchserve==0.12.0 torch-model-archiver==0.12.0 torch torchvision captum pyyaml
    python benchmarks/beside_torchserve.py --torchserve /tmp/ts --photographs FOLDER --seconds 8

Java 17 has to be there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from pinnace.models.cpus import available_cpus
from pinnace.models.image.find import find_images

SAME = 1e-4
NAME, VERSION = "lite0", "1.0"
JPEG = {"Content-Type": "image/jpeg"}
PLACE = f"/predictions/{NAME}"
WAYS: dict[str, dict[str, Any]] = {
    "PUT, raw": {"method": "PUT", "url": PLACE},
    "POST, raw": {"method": "POST", "url": PLACE, "headers": JPEG},
    "with a version": {"method": "PUT", "url": f"{PLACE}/{VERSION}"},
    "field data": {"method": "POST", "url": PLACE, "field": "data"},
    "field body": {"method": "POST", "url": PLACE, "field": "body"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "no such model": {"method": "POST", "url": "/predictions/none"},
    "no such version": {"method": "POST", "url": f"{PLACE}/9.9"},
    "ping": {"method": "GET", "url": "/ping"},
}


def make_archive(folder: Path, torchserve: Path) -> Path:
    """An archive of EfficientNet-Lite0 as TorchScript, with ImageNet's names."""
    import torch

    from pinnace.models.loaders import load, parse_source
    from pinnace.models.loaders.base import LoadedModel, LoadRequest

    loaded = load(LoadRequest(parse_source("efficientnet_lite0")))
    assert isinstance(loaded, LoadedModel)
    script = torch.jit.trace(loaded.module, torch.zeros(1, 3, 224, 224))  # type: ignore[no-untyped-call]
    torch.jit.save(script, folder / "lite0.pt")  # type: ignore[no-untyped-call]
    names = {str(index): name for index, name in enumerate(loaded.labels or ())}
    (folder / "index_to_name.json").write_text(json.dumps(names))
    command = [torchserve / "bin" / "torch-model-archiver", "--model-name", NAME, "--version", VERSION]
    command += ["--serialized-file", "lite0.pt", "--handler", "image_classifier"]
    command += ["--extra-files", "index_to_name.json", "--export-path", "."]
    subprocess.run(command, cwd=folder, check=True)
    return folder / f"{NAME}.mar"


@contextmanager
def running(command: list[Any], folder: Path, **variables: str) -> Iterator[psutil.Process]:
    """A server in a process group of its own, which ends with the block."""
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def torchserve_command(folder: Path, torchserve: Path, port: int, cpus: int) -> list[Any]:
    """TorchServe with a worker for each CPU, which is its default, and one thread in each."""
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port + 1}\n"
        f"metrics_address=http://127.0.0.1:{port + 2}\ndefault_workers_per_model={cpus}\n"
        "max_request_size=50000000\n"
    )
    command = [torchserve / "bin" / "torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth"]
    return [*command, "--ts-config", "config.properties", "--model-store", ".", "--models", f"{NAME}.mar"]


def send(client: httpx.Client, image: bytes, *, field: str | None = None, **request: Any) -> httpx.Response:
    """One request in one of the ways."""
    body: dict[str, Any] = {"content": image} if field is None else {"files": {field: ("x.jpg", image)}}
    if request["method"] == "GET":
        body = {}
    return client.request(**request, **body)


def wait_until_ready(client: httpx.Client, image: bytes, seconds: float = 240) -> None:
    """Wait until an image is answered."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if send(client, image, method="PUT", url=PLACE).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    sys.exit(f"{client.base_url} did not answer within {seconds:g} s")


def pictures(folder: Path) -> dict[str, bytes]:
    """Twelve photographs, and three more forms of the first."""
    chosen = sorted(map(Path, find_images([folder]).images))[:12]
    found = {path.name: path.read_bytes() for path in chosen}
    first = Image.open(io.BytesIO(next(iter(found.values())))).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    forms: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "progressive": (first, {"progressive": True}),
        "turned by EXIF": (first, {"exif": turned}),
        "24 megapixels": (first.resize((6000, 4000)), {}),
    }
    for name, (picture, options) in forms.items():
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90, **options)
        found[name] = buffer.getvalue()
    return found


def odd_pictures() -> dict[str, bytes]:
    """Sound pictures that are not RGB, and requests that are none."""
    found = {}
    for mode, form in (
        *(("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG")),
        *(("1", "PNG"), ("I;16", "PNG"), ("LA", "PNG"), ("RGB", "WEBP")),
    ):
        buffer = io.BytesIO()
        Image.new(mode, (300, 300)).save(buffer, form)
        found[f"{mode} {form}"] = buffer.getvalue()
    return {**found, "damaged": found["L JPEG"][:200], "no picture": b"hello", "empty": b""}


def compare(there: httpx.Client, here: httpx.Client, folder: Path) -> bool:
    """Ask both and print what differs; returns whether all is the same."""
    worst, asked, same = 0.0, 0, True
    for name, image in pictures(folder).items():
        for way, request in WAYS.items():
            theirs, ours = (send(client, image, **request).json() for client in (there, here))
            asked += 1
            if set(theirs) != set(ours):
                same = False
                print(f"  {name}, {way}: {theirs} there, {ours} here")
                continue
            worst = max(worst, *(abs(theirs[label] - ours[label]) for label in theirs))
    print(f"{asked} answers to {len(pictures(folder))} pictures in {len(WAYS)} ways: ", end="")
    print(f"{'the same five classes' if same else 'NOT the same'}, probabilities within {worst:.1e}")
    for name, request in REFUSED.items():
        theirs, ours = (send(client, b"", **request) for client in (there, here))
        equal = (theirs.status_code, theirs.json()) == (ours.status_code, ours.json())
        same = same and equal
        print(f"{name}: {'the same' if equal else f'{theirs.text} there, {ours.text} here'}")
    for name, image in odd_pictures().items():
        theirs, ours = (send(client, image, **WAYS["PUT, raw"]) for client in (there, here))
        said = "answered" if ours.status_code == 200 else ours.json()["message"]
        print(f"{name}: {theirs.status_code} there, {ours.status_code} here ({said})")
    return same and worst <= SAME


def drive(client: httpx.Client, images: list[bytes], seconds: float, at_once: int) -> tuple[float, float]:
    """Images a second and the median of milliseconds, from some clients that each wait for their answer."""
    until, times = time.monotonic() + seconds, []

    def ask(place: int) -> None:
        while time.monotonic() < until:
            place += 1
            start = time.monotonic()
            send(client, images[place % len(images)], **WAYS["POST, raw"]).raise_for_status()
            times.append(time.monotonic() - start)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(at_once)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(times) / (time.monotonic() - start), 1000 * statistics.median(times)


def memory(process: psutil.Process) -> float:
    """Megabytes that the processes of a server have for themselves, shared pages in shares."""
    return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)]) / 1e6


def main() -> None:
    """Compare the answers, then the speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--torchserve", type=Path, required=True, help="the virtual environment it is in")
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of RGB photographs")
    parser.add_argument("--seconds", type=float, default=8, help="of each round; 0 for no rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=28080)
    arguments = parser.parse_args()
    cpus, port = available_cpus(), arguments.port
    environment = arguments.torchserve.absolute()
    with tempfile.TemporaryDirectory(prefix="beside-") as name, ExitStack() as stack:
        folder = Path(name)
        make_archive(folder, environment)
        pinnace = Path(sys.executable).with_name("pinnace")
        subprocess.run([pinnace, "export", f"{NAME}.mar", "--format", "onnx"], cwd=folder, check=True)
        command = torchserve_command(folder, environment, port, cpus)
        path = f"{environment / 'bin'}:{os.environ['PATH']}"
        theirs = stack.enter_context(running(command, folder, PATH=path, OMP_NUM_THREADS="1"))
        command = [pinnace, "serve", f"{NAME}.bundle", "--torchserve", "--port", port + 3]
        ours = stack.enter_context(running(command, folder))
        there, here = (
            stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{one}", timeout=120))
            for one in (port, port + 3)
        )
        images = list(pictures(arguments.photographs).values())[:12]
        wait_until_ready(there, images[0])
        wait_until_ready(here, images[0])
        good = compare(there, here, arguments.photographs)
        rows: dict[str, list[tuple[float, float]]] = {"TorchServe": [], "Pinnace": []}
        for _ in range(arguments.rounds if arguments.seconds else 0):
            for who, client in (("TorchServe", there), ("Pinnace", here)):
                rows[who].append(drive(client, images, arguments.seconds, 2 * cpus))
        for (who, found), process in zip(rows.items(), (theirs, ours), strict=True):
            if found:
                rate, median = (statistics.median(column) for column in zip(*found, strict=True))
                print(f"{who}: {rate:.1f} images/s, median {median:.1f} ms, {memory(process):.0f} MB")
        if rows["Pinnace"]:
            pairs = zip(rows["Pinnace"], rows["TorchServe"], strict=True)
            ratios = sorted(mine / other for (mine, _), (other, _) in pairs)
            print("times as many images, round by round: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
