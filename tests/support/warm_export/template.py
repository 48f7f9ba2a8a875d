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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # numpy has threads of its own before it is asked for anything, and it starts them again after a fork.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _fork() -> int:
    with _quiet():
        return os.fork()


def _become(request: dict[str, object], events: int, output: int) -> None:
    """Run the child's program in this process, with the descriptors and the folder that it was promised."""
    os.setsid()
    os.chdir(str(request["cwd"]))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    promised = int(str(request["events"]))
    os.dup2(events, promised)
    os.closerange(3, promised)
    os.closerange(promised + 1, _HIGH + 100)
    sys.argv = ["", *map(str, request["arguments"])]  # type: ignore[call-overload]
    runpy.run_module(str(request["module"]), run_name="__main__", alter_sys=True)


def _serve(request: dict[str, object], events: int, output: int, status: int) -> None:
    """Start the child, say its number, wait for it, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = _fork()
    if child == 0:
        try:
            _become(request, events, output)
        except SystemExit as error:
            sys.stdout.flush()
            os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    os.close(events)
    os.close(output)
    os.write(status, f"{child}\n".encode())
    _, ended = os.waitpid(child, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())


def main() -> None:
    """Fork for each request until the other end of the control socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    sys.path.pop(0)  # the folder of this file, which `-I -m` would not have put there
    for module in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
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
