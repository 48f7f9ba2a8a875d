"""Makes an interpreter look as it does on a Mac: on PYTHONPATH, Python imports this before anything else.

What only Linux has goes from the modules of the standard library; `/proc` and `/sys` are empty for our code;
`sys.platform` is `darwin`. psutil, which reads `/proc` here and asks the system there, is loaded before.
Each interpreter leaves a file with its process id in the folder `PINNACE_WITHOUT_LINUX`, and writes into it
which files of `/proc` and `/sys` were asked for. What is compiled still sees Linux.

Where a name is absent on macOS: "Availability" in the documentation of each module of Python.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import resource
import select
import signal
import socket
import sys
import sysconfig
import time
import types
from pathlib import Path
from typing import Any

HIDDEN = re.compile(r"/(proc|sys|etc/os-release)(/|$)")
ASKED = Path(os.environ["PINNACE_WITHOUT_LINUX"]) / str(os.getpid())

ONLY_LINUX: dict[types.ModuleType, str] = {
    os: r"sched_(get|set)(affinity|param|scheduler)|sched_rr_.*|sched_param|SCHED_(BATCH|IDLE|RESET_ON_FORK)|"
    r"posix_fallocate|posix_fadvise|POSIX_FADV_.*|pidfd_.*|PIDFD_.*|P_PIDFD|copy_file_range|memfd_create|MFD_.*|"
    r"eventfd.*|EFD_.*|splice|SPLICE_.*|timerfd_.*|TFD_.*|unshare|setns|CLONE_.*|.*xattr|XATTR_.*|getrandom|"
    r"GRND_.*|fdatasync|pipe2|[gs]etres[ug]id|O_(DIRECT|TMPFILE|PATH|NOATIME|LARGEFILE|RSYNC)|waitid.*|"
    r"preadv|pwritev|RWF_.*|RTLD_DEEPBIND",
    select: r"epoll|EPOLL.*",
    signal: r"sigtimedwait|sigwaitinfo|SIGRTM(IN|AX)|SIG(PWR|STKFLT|POLL|CLD)|pidfd_.*",
    socket: r"SOCK_(CLOEXEC|NONBLOCK)|MSG_(CMSG_CLOEXEC|CONFIRM|ERRQUEUE|FASTOPEN|MORE)|SCM_CREDENTIALS|"
    r"TCP_(DEFER_ACCEPT|USER_TIMEOUT|QUICKACK|CORK|INFO|LINGER2|SYNCNT|WINDOW_CLAMP|CONGESTION)|"
    r"SO_(BINDTODEVICE|PEERCRED|PASSCRED|DOMAIN|PROTOCOL|MARK|PRIORITY|INCOMING_CPU|PEERSEC|PASSSEC)",
    time: r"CLOCK_(BOOTTIME|TAI)|pthread_getcpuclockid",
    resource: r"prlimit|RUSAGE_THREAD|RLIMIT_(SIGPENDING|MSGQUEUE|NICE|RTPRIO|RTTIME)",
    fcntl: r"F_([SG]ETPIPE_SZ|OFD_.*|ADD_SEALS|GET_SEALS|SEAL_.*|NOTIFY|[SG]ETSIG|[SG]ETLEASE)|DN_.*",
    mmap: r"MAP_(POPULATE|STACK|DENYWRITE|EXECUTABLE)|"
    r"MADV_(DONTFORK|DOFORK|HUGEPAGE|NOHUGEPAGE|DONTDUMP|DODUMP|REMOVE|HWPOISON|MERGEABLE|UNMERGEABLE)",
}


def take_away() -> None:
    """Delete what only Linux has, in the modules and in the built-in ones behind them."""
    for module, pattern in ONLY_LINUX.items():
        behind = [sys.modules[name] for name in ("posix", "_signal", "_socket") if name in sys.modules]
        for name in [name for name in dir(module) if re.fullmatch(pattern, name)]:
            for one in (module, *behind):
                if hasattr(one, name):
                    delattr(one, name)
    sys.modules.pop("selectors")  # which `socket` has imported, and which has chosen epoll by then


def check(path: Any) -> None:
    """Raise FileNotFoundError for a file of the Linux kernel's, unless psutil asks."""
    if not isinstance(path, str | bytes | os.PathLike) or not HIDDEN.match(os.fsdecode(path)):
        return
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if f"{os.sep}psutil{os.sep}" in frame.f_code.co_filename:
            return
        frame = frame.f_back
    with ASKED.open("a") as file:
        file.write(f"{os.fsdecode(path)}\n")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))


def hide() -> None:
    """Hide the kernel's files: what opens and lists is audited, what only looks is wrapped."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and arguments:
            check(arguments[0])

    sys.addaudithook(audit)
    for name in ("stat", "lstat", "readlink"):
        setattr(os, name, _checked(getattr(os, name)))


def _checked(function: Any) -> Any:
    def checked(path: Any, *arguments: Any, **named: Any) -> Any:
        check(path)
        return function(path, *arguments, **named)

    return checked


def pretend() -> None:
    """Give the names of a Mac. `_scproxy`, which `urllib` asks for proxies there, is a compiled module."""
    proxies: Any = types.ModuleType("_scproxy")
    proxies._get_proxy_settings = proxies._get_proxies = dict
    sys.modules["_scproxy"] = proxies
    import psutil  # type: ignore[import-untyped] # noqa: F401

    sys.modules["mlperf_loadgen"] = None  # type: ignore[assignment] # it has wheels for Linux only
    sysconfig.get_config_vars()  # read from a file that has the platform in its name
    sys.platform = "darwin"
    names = os.uname_result(("Darwin", "mac", "24.6.0", "Darwin Kernel Version 24.6.0", "arm64"))
    os.uname = lambda: names
    platform: Any = sys.modules.get("platform")  # a tracer that was started before has asked it already
    if platform is not None:
        platform._uname_cache = None


take_away()
hide()
pretend()
ASKED.touch()
