"""The system's `ssh`: an address, and one command at a time over it."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from pinnace.models.errors import MissingDependency, PinnaceError, ServerError, UsageError

# What ssh itself exits with, whatever the command on the other side would have said.
_SSH_FAILED = 255
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+(%\w+)?")
# A connection that says nothing for this long is lost.
_ALIVE = ("ServerAliveInterval=5", "ServerAliveCountMax=3", "ConnectTimeout=15", "BatchMode=yes")
_REFUSALS = ("Permission denied", "Host key verification failed", "Could not resolve", "Bad configuration")

COMMAND = "PINNACE_SSH"


class ConnectionLost(ServerError):
    """The connection ended before the command did."""


@dataclass(frozen=True)
class Address:
    """A machine as `ssh` knows it.

    Attributes:
        host: a name, an address, or an alias of `~/.ssh/config`.
        user: or None for ssh's own choice.
        port: likewise.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `ssh://user@host:port`.

        Raises:
            UsageError: it is something else.
        """
        wrong = UsageError(
            f"{text} is not the address of a device", expected="ssh://user@host or ssh://user@host:port"
        )
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise wrong from None
        names = [name for name in (parts.hostname, parts.username) if name is not None]
        if parts.scheme != "ssh" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise wrong
        # What begins with a hyphen would be an option to ssh.
        if parts.password is not None or not all(_NAME.fullmatch(name) for name in names):
            raise wrong
        host = parts.netloc.rpartition("@")[2]
        bare = parts.hostname if host.startswith("[") else host.partition(":")[0]
        return cls(bare, parts.username, port)

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host


class Ssh:
    """Runs commands on a machine, each over a connection of its own."""

    def __init__(self, address: Address) -> None:
        """Find ssh.

        Raises:
            MissingDependency: ssh is not installed here.
        """
        self.address = address
        program = shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]
        if shutil.which(program[0]) is None:
            raise MissingDependency(
                f"{program[0]} is not on the PATH", hint="on Debian: apt-get install openssh-client"
            )
        options = [part for option in _ALIVE for part in ("-o", option)]
        port = ["-p", str(address.port)] if address.port else []
        self._command = [*program, *options, *port, "-T", str(address), "--"]

    def shell(self, script: str) -> tuple[int, bytes]:
        """Run a script of the POSIX shell; return its exit status and what it printed.

        It goes in by standard input, so that whatever shell the user has there need not parse it.

        Raises:
            ConnectionLost: the connection ended before the script did.
            ServerError: no connection could be made.
        """
        return self.run("exec sh -s", script.encode())

    def run(
        self, command: str, data: bytes | Callable[[IO[bytes]], None] | None = None, *, show: bool = False
    ) -> tuple[int, bytes]:
        """Run a command with data on its standard input; see `shell`.

        Args:
            command: in words that every shell reads alike.
            data: for its standard input; what is large is written there by a function.
            show: pass on what it prints on standard error, as it comes.
        """
        process = subprocess.Popen(
            [*self._command, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        words: list[bytes] = []
        reader = threading.Thread(target=_read, args=(process.stderr, words, show), daemon=True)
        reader.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            feeder = threading.Thread(target=_feed, args=(process.stdin, data or b""), daemon=True)
            feeder.start()
            out = process.stdout.read()
            status = process.wait()
            feeder.join()
            reader.join()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            process.stdout.close()
            process.stderr.close()
        if status == _SSH_FAILED or status < 0:
            raise self._problem(b"".join(words).decode("utf-8", "replace"))
        return status, out

    def _problem(self, said: str) -> PinnaceError:
        lines = [line.strip() for line in said.replace("\r", "\n").splitlines() if line.strip()]
        last = lines[-1] if lines else "ssh ended"
        for line in lines:
            if any(refusal in line for refusal in _REFUSALS):
                hint = f"try: ssh {self._shown()}; a key is set up with: ssh-copy-id {self._shown()}"
                return ServerError(f"{self.address} refuses the connection: {line}", hint=hint)
        return ConnectionLost(f"no connection to {self.address}: {last}", hint=f"try: ssh {self._shown()}")

    def _shown(self) -> str:
        port = f"-p {self.address.port} " if self.address.port else ""
        return f"{port}{self.address}"


def _feed(pipe: IO[bytes], data: bytes | Callable[[IO[bytes]], None]) -> None:
    try:
        if callable(data):
            data(pipe)
        else:
            pipe.write(data)
        pipe.close()
    except BrokenPipeError:  # the command wanted no more, or the connection is gone; its status tells
        pass


def _read(pipe: IO[bytes], words: list[bytes], show: bool) -> None:
    while block := os.read(pipe.fileno(), 4096):
        words.append(block)
        del words[:-64]
        if show:
            try:
                os.write(sys.stderr.fileno(), block)
            except io.UnsupportedOperation:  # not a file, as where a program has taken it over
                sys.stderr.write(block.decode("utf-8", "replace"))
