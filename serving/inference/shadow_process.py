"""The process that has the shadow's bundle: compares what workers send with what its own model says.

It runs where nothing else wants a CPU (Linux's `SCHED_IDLE`), so that its work is not felt by those that
answer. A bundle that is replaced on disk is taken up before the next image, if it passes the checks.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Listener, Pipe, wait
from pathlib import Path
from typing import Any

import numpy as np

from pinnace.models.bundle import manifest
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import PinnaceError, UsageError, from_dict
from pinnace.models.image.decode import open_image
from pinnace.models.open_model import AnsweringModel, open_model
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.serving.inference.self_check import self_check
from pinnace.serving.inference.shadow import SOCKET_VARIABLE
from pinnace.serving.settings import ServerSettings, load_settings

logger = logging.getLogger("pinnace.serving")

_running: list[subprocess.Popen[bytes]] = []


def start_shadow(settings: ServerSettings, folder: Path) -> str:
    """Start the process, and tell the workers that start later where it listens.

    It ends when this process does, or closes its standard input.

    Args:
        settings: those of the server, with `shadow`.
        folder: where its socket goes.

    Returns:
        A sentence on what is compared with what.

    Raises:
        UsageError: several bundles are served, or one of the two classifies and the other embeds.
        PinnaceError: the shadow cannot be opened, or does not give its golden outputs here.
    """
    assert settings.shadow is not None
    if len(settings.bundle) > 1:
        raise UsageError("a shadow is compared with one bundle, and several are served")
    own, other = (Bundle.open(path).outputs for path in (settings.folders[0], settings.shadow))
    if own.is_classifier != other.is_classifier:
        raise UsageError(
            "the shadow cannot be compared with the bundle that answers",
            expected=str(own.meaning),
            got=str(other.meaning),
        )
    path = folder / "shadow"
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(Path(settings.shadow).absolute()), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    _running.append(process)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline() or b"{}")
    if "version" not in told:
        raise from_dict(told["error"]) if "error" in told else UsageError("the shadow did not start")
    os.environ[SOCKET_VARIABLE] = str(path)
    shadow = Path(settings.shadow)
    shown = shadow.name if shadow.is_symlink() else shadow  # a link to what was pulled
    return (
        f"of the images, {settings.shadow_share:.4g} are compared with what {shown} says "
        f"({told['model']}, version {told['version']})"
    )


class ShadowModel:
    """The shadow's model, of the version that stands on disk."""

    def __init__(self, folder: Path, max_pixels: int) -> None:
        """Open and check it.

        Raises:
            PinnaceError: it cannot be opened, or does not give its golden outputs here.
        """
        self._folder = folder
        self._max_pixels = max_pixels
        self._seen = self._stamp()
        self.model = _checked(folder)

    def compare(self, question: dict[str, Any], image: bytes, vector: bytes) -> dict[str, Any]:
        """How far the model's answer is from the one that was given.

        Args:
            question: of a classifier, the `label` and `probability` that were answered first; `base64`,
                whether the image is base64 text.
            image: the encoded image.
            vector: of an embedding network, the vector that was answered, float32.

        Returns:
            `outcome` (agreed, disagreed or failed), `version` of the shadow, and `distance`: of the
            probabilities of the label, or 1 less the cosine of the vectors, which agree where that is less
            than 0.001.
        """
        self._take_up_what_is_new()
        version = self.model.bundle.version
        try:
            data = base64.b64decode(image) if question["base64"] else image
            batch = self.model.prepare(open_image(data, max_pixels=self._max_pixels))
            values = self.model.infer(batch)[0]
        except Exception as error:
            logger.warning("the shadow cannot answer: %s", error)
            return {"outcome": "failed", "version": version}
        if isinstance(self.model, Classifier):
            scores = self.model.scores(values)
            first = self.model.labels[int(np.argmax(scores))]
            named = dict(zip(self.model.labels, scores.tolist(), strict=True))
            agreed = first == question["label"]
            distance = abs(named.get(question["label"], 0.0) - question["probability"])
        else:
            answered = np.frombuffer(vector, np.float32)
            if answered.shape != values.shape:
                return {"outcome": "failed", "version": version}
            lengths = float(np.linalg.norm(answered) * np.linalg.norm(values))
            distance = max(0.0, 1 - float(answered @ values) / lengths) if lengths else 1.0
            agreed = distance < 0.001
        return {
            "outcome": "agreed" if agreed else "disagreed",
            "version": version,
            "distance": float(distance),
        }

    def _take_up_what_is_new(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            fresh = _checked(self._folder)
        except PinnaceError as error:
            logger.error("the shadow was not reloaded: %s", error.message)
            return
        old, self.model = self.model, fresh
        old.close()
        logger.warning("the shadow was reloaded: version %s is compared", fresh.bundle.version)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            about = (self._folder / manifest.FILE_NAME).stat()
        except OSError:
            return None  # it is being replaced
        return about.st_ino, about.st_mtime_ns


def _checked(folder: Path) -> AnsweringModel:
    bundle = Bundle.open(folder)
    bundle.check_files()
    model = open_model(bundle, options=RuntimeOptions(threads=1))
    try:
        self_check(model)
        model.warm_up()
    except BaseException:
        model.close()
        raise
    return model


def serve(model: ShadowModel, listener: Listener) -> None:
    """Answer workers, one image after the other, for ever."""
    connections: list[Connection] = []
    lock = threading.Lock()

    def accept() -> None:
        while True:
            with contextlib.suppress(OSError):
                connection = listener.accept()
                with lock:
                    connections.append(connection)
                wake.send_bytes(b"")

    waker, wake = Pipe(duplex=False)
    threading.Thread(target=accept, daemon=True).start()
    while True:
        with lock:
            watched = [waker, *connections]
        for ready in wait(watched):
            assert isinstance(ready, Connection)
            if ready is waker:
                waker.recv_bytes()
                continue
            try:
                question, image, vector = (ready.recv_bytes() for _ in range(3))
                told = model.compare(json.loads(question), image, vector)
                ready.send_bytes(json.dumps(told).encode())
            except (OSError, EOFError):
                ready.close()
                with lock:
                    connections.remove(ready)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _yield_to_all_others() -> None:
    """Run only where no other thread wants the CPU; threads that start later do so too."""
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.nice(19)


def main(folder: Path, socket: str) -> None:
    """Open the bundle, say on standard output that it is ready or why it is not, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process as well
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        model = ShadowModel(folder, load_settings().max_pixels)
    except PinnaceError as error:
        print(json.dumps({"error": error.to_dict()}), flush=True)
        sys.exit(error.exit_status)
    _yield_to_all_others()
    with Listener(socket, family="AF_UNIX", backlog=64) as listener:
        bundle = model.model.bundle
        print(json.dumps({"model": bundle.name, "version": bundle.version}), flush=True)
        serve(model, listener)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
