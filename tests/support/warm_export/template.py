"""An interpreter that has imported what an export needs, and forks for each one.

Started as `python -I -u template.py CONTROL_FD`; see `support.warm_export.children`. It imports and does
nothing else, so that a fork of it stands where a child interpreter stands after its imports.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypedDict

# What the child would import itself: at its start, and when it writes ONNX.
MODULES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pinnace.export.formats",
    "pinnace.export.worker.eager_model",
    "pinnace.export.worker.float32_noise",
    "pinnace.export.worker.graph_end",
    "pinnace.export.worker.inspect_model",
    "pinnace.export.worker.onnx_source",
    "pinnace.export.worker.resize_trials",
    "pinnace.models.loaders",
    "torch",
    "torch._dynamo",
    "torch.export._trace",
    "torch.onnx._internal.exporter._compat",
    "torch.onnx._internal.exporter._torchlib.ops",
    "torchvision",
)
FDS = 3
_HIGH = 500


class Request(TypedDict):
    """What a fork does.

    Attributes:
        kind: `module`, or `script` for a file that is run where `pinnace` cannot be imported.
        program: the name of the module, or the file.
        arguments: what follows in `sys.argv`.
        folder: where it runs.
        events: the number of the descriptor that a child writes its events to.
    """

    kind: Literal["module", "script"]
    program: str
    arguments: list[str]
    folder: str
    events: int


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # numpy has threads of its own before it is asked for anything, and it starts them again after a fork.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _fork() -> int:
    with _quiet():
        return os.fork()


def _become(request: Request, events: int, output: int) -> None:
    """Be the process that was asked for: its descriptors, its folder, its program."""
    import numpy as np

    np.random.seed()  # every fork would draw the same numbers, where no two interpreters do
    os.setsid()
    os.chdir(request["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(events, request["events"])
    os.closerange(3, request["events"])
    os.closerange(request["events"] + 1, _HIGH + 100)
    sys.argv = [request["program"], *request["arguments"]]
    if request["kind"] == "module":
        runpy.run_module(request["program"], run_name="__main__", alter_sys=True)
        return
    sys.path.insert(0, "")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pinnace"]:
        del sys.modules[name]
    sys.modules["pinnace"] = None  # type: ignore[assignment]
    runpy.run_path(request["program"], run_name="__main__")


def _serve(request: Request, events: int, output: int, status: int) -> None:
    """Start the child, say its number, wait for it, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = _fork()
    if child == 0:
        try:
            _become(request, events, output)
        except SystemExit as error:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
            sys.stdout.flush()
            os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    os.close(events)
    os.close(output)
    os.write(status, f"{child}\n".encode())
    _, ended = os.waitpid(child, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())


def main() -> None:
    """Fork for each request until the other end of the control socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    # This file is run by an interpreter that has `support` on no path.
    runpy.run_path(str(Path(__file__).with_name("registry.py")))["remember"](now=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1 << 16, FDS)
        if not message:
            return
        if _fork() == 0:
            control.close()
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in fds]
            for fd in fds:
                os.close(fd)
            _serve(json.loads(message), *high)
            os._exit(0)
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    main()
