"""A command of pinnace on another machine: the bundle goes there, it runs there, and its files come back.

On the device everything lies under `~/.cache/pinnace/device`: bundles by their version, so that a second
run copies nothing, images by their hash, and a folder for each run that has not been fetched. A run is a
session of its own there: it goes on when the connection is lost, and the same command picks it up again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from pinnace.latency.remote.ssh import ConnectionLost, Ssh
from pinnace.models.bundle import signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import (
    CheckFailed,
    MissingDependency,
    PinnaceError,
    ServerError,
    UsageError,
)

Notify = Callable[[str], None]  # called with a sentence for the user
# The files of the bundle that are needed, where runtimes of these names work.
Choose = Callable[[Sequence[str]], Sequence[str]]
Made = TypeVar("Made")

# Seconds between the attempts to reach a device again.
RETRIES_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 30.0)
# A connection that held for so long was there again, so the attempts begin anew.
STEADY_S = 30.0

# Where pip puts programs for one user is not on the PATH of a command over ssh.
ROOT = 'root="${XDG_CACHE_HOME:-$HOME/.cache}/pinnace/device"; PATH="$PATH:$HOME/.local/bin"; '
_NO_PROGRAM = 127
_GONE = 97
_ENDED = 98
_INTERRUPTED = 130


@dataclass(frozen=True)
class Images:
    """Images that go along.

    Attributes:
        folder: where they are here.
        files: which of them.
    """

    folder: Path
    files: tuple[Path, ...]

    def packed(self) -> bytes:
        """As a tar, the same for the same images."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for file in sorted(self.files):
                data = file.read_bytes()
                entry = tarfile.TarInfo(file.relative_to(self.folder).as_posix())
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return packed.getvalue()


@dataclass(frozen=True)
class RemoteCommand:
    """A command on a device.

    Attributes:
        bundle: what it is about.
        verb: of pinnace, such as `bench`.
        arguments: besides the bundle and what it writes.
        results: names of the files that come back; `profile.json` is that of the bundle there.
        python: of the device, or None for the `pinnace` on its PATH.
        keeps: Ctrl-C ends it early, and what it knows by then comes back.
    """

    bundle: Bundle
    verb: str
    arguments: tuple[str, ...]
    results: tuple[str, ...] = ("report.json",)
    python: str | None = None
    keeps: bool = False

    @property
    def program(self) -> str:
        """How `pinnace` is called there, as words of a shell."""
        return f"{shlex.quote(self.python)} -m pinnace.cli.main" if self.python else "pinnace"

    @property
    def signed(self) -> bool:
        """Whether the bundle is signed, and so may have no other files there than here."""
        return (self.bundle.folder / signing.FILE_NAME).is_file()

    @property
    def folder(self) -> str:
        """The name of the bundle's folder there."""
        return f"{self.bundle.version}-signed" if self.signed else self.bundle.version

    @property
    def key(self) -> str:
        """The same for the same command with the same bundle."""
        parts = [self.bundle.version, self.verb, *self.arguments, self.program]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def run(
    ssh: Ssh,
    job: RemoteCommand,
    choose: Choose,
    read: Callable[[dict[str, bytes]], Made],
    notify: Notify,
    *,
    progress: bool = False,
) -> tuple[Made, bool]:
    """Run a command on a device.

    Args:
        ssh: the device.
        job: what runs.
        choose: which files of the bundle it needs.
        read: makes something of the files that come back; they stay there until it has.
        notify: called with a sentence when the user should know of something, such as a lost connection.
        progress: whether to show the device's progress here.

    Returns:
        What `read` gives, and whether an earlier call of the same had begun it.

    Raises:
        MissingDependency: pinnace, or something that it needs, is not installed there.
        UsageError, CheckFailed: it failed there with this error.
        ServerError: there is no connection, or it was lost and could not be restored.
    """
    where = ssh.address
    found = _state(ssh, job)
    if found == "running":
        notify(f"the same {job.verb} is already running on {where}; waiting for its report")
    elif found == "ended":
        notify(f"the same {job.verb} has finished on {where} before; fetching its report")
    else:
        if found == "lost":
            notify(
                f"an earlier run of the same {job.verb} was cut off on {where} and its results are lost; "
                "running it again"
            )
        files = signing.with_all_signed(job.bundle.folder, choose(_runtimes(ssh, job)))
        _copy(ssh, job, files)
        _start(ssh, job, progress=progress)
    status = _wait(ssh, job, notify, progress=progress)
    return _fetch(ssh, job, status, read), found in ("running", "ended")


def _state(ssh: Ssh, job: RemoteCommand) -> str:
    """`none`, `running`, `ended`, or `lost` where a run died without a status."""
    script = f"""{ROOT}
run="$root/runs/{job.key}"
[ -d "$run" ] || {{ echo none; exit 0; }}
if [ -f "$run/status" ]; then
  [ "$(cat "$run/status")" = 0 ] && {{ echo ended; exit 0; }}
  echo none
else
  kill -0 "$(cat "$run/pid")" 2>/dev/null && {{ echo running; exit 0; }}
  echo lost
fi
rm -rf "$run"
"""
    return ssh.shell(script)[1].decode().strip()


def _runtimes(ssh: Ssh, job: RemoteCommand) -> tuple[str, ...]:
    """The names of the runtimes that work on the device."""
    status, out = ssh.shell(f"{ROOT}exec {job.program} doctor --json")
    try:
        entries = json.loads(out)
        return tuple(
            entry["name"].partition(" ")[2]
            for entry in entries
            if entry["name"].startswith("runtime ") and entry["problem"] is None
        )
    except (ValueError, TypeError, KeyError):
        what = f"{job.python} has no pinnace" if job.python else "there is no pinnace on the PATH"
        if status not in (0, 1, _NO_PROGRAM):
            what = f"pinnace fails with status {status}"
        raise MissingDependency(
            f"on {ssh.address} {what}",
            hint="install it there with the extras cpu and bench, or name the Python that has it: "
            "--device-python PATH",
        ) from None


def _copy(ssh: Ssh, job: RemoteCommand, files: Sequence[str]) -> None:
    """Send what is not there yet; what was cut off has another size, and is sent again.

    Another key's signature of the same bundle has the same size.
    """
    bundle, folder = job.bundle, f"$root/bundles/{job.folder}"
    listing = "\n".join(f"wc -c < {shlex.quote(file)} 2>/dev/null || echo 0" for file in files)
    status, out = ssh.shell(f'{ROOT}mkdir -p "{folder}" && cd "{folder}" || exit 1\n{listing}\n')
    if status:
        raise ServerError(f"the folder ~/.cache/pinnace on {ssh.address} cannot be written")
    sizes = [int(line) for line in out.split()]
    there = {
        file
        for file, size in zip(files, sizes, strict=True)
        if bundle.path(file).stat().st_size == size and file != signing.FILE_NAME
    }
    missing = [file for file in files if file not in there]
    if not missing:
        return

    def pack(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|") as tar:
            for file in missing:
                tar.add(bundle.path(file), arcname=file)

    script = f'{ROOT}cd "{folder}" && exec tar -xf -'
    status, _ = ssh.run(f"exec sh -c {shlex.quote(script)}", pack)
    if status:
        raise ServerError(f"the bundle cannot be unpacked on {ssh.address}: tar ended with status {status}")


def send_images(ssh: Ssh, images: Images) -> str:
    """Copy images there, unless they are there already; where they are, from the folder of a run."""
    packed = images.packed()
    digest = hashlib.sha256(packed).hexdigest()[:12]
    folder = f"$root/images/{digest}"
    if ssh.shell(f'{ROOT}[ -d "{folder}" ]')[0]:
        part = f"{folder}.part"
        script = (
            f'{ROOT}rm -rf "{part}"; mkdir -p "{part}" && cd "{part}" && tar -xf - && mv "{part}" "{folder}"'
        )
        status, _ = ssh.run(f"exec sh -c {shlex.quote(script)}", packed)
        if status:
            raise ServerError(
                f"the images cannot be unpacked on {ssh.address}: the shell ended with status {status}"
            )
    return f"../../images/{digest}"


def _start(ssh: Ssh, job: RemoteCommand, *, progress: bool) -> None:
    words = shlex.join([*job.arguments, "--progress" if progress else "--no-progress"])
    take = "mv" if job.signed else "cp"
    profile = f'{take} "$1/profile.json" profile.json' if "profile.json" in job.results else ":"
    script = f"""{ROOT}
mkdir -p "$root/runs/{job.key}" && cd "$root/runs/{job.key}" || exit 1
command -v setsid >/dev/null || exit {_NO_PROGRAM}
cat > run.sh <<'EOF'
echo $$ > pid
trap : TERM
{job.program} {job.verb} "$1" {words} --json --report report.json >/dev/null 2>err </dev/null
status=$?
{profile}
echo $status > status.new && mv status.new status
EOF
: > err
setsid sh run.sh "$root/bundles/{job.folder}" >/dev/null 2>&1 </dev/null &
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && exit 0; sleep 1; done
exit 1
"""
    status, _ = ssh.shell(script)
    if status:
        raise ServerError(f"the {job.verb} cannot be started on {ssh.address}: status {status}")


def _wait(ssh: Ssh, job: RemoteCommand, notify: Notify, *, progress: bool) -> int:
    """Wait for the end, over as many connections as that takes, and return the exit status of the command."""
    # While something is measured there, the watch costs one `sleep` a second.
    show = "tail -n +1 -f err >&2 & tail=$!" if progress else "tail="
    script = f"""{ROOT}
cd "$root/runs/{job.key}" || exit {_GONE}
{show}
while [ ! -f status ]; do
  kill -0 "$(cat pid)" 2>/dev/null || {{ sleep 1; [ -f status ] || break; }}
  sleep 1
done
[ -z "$tail" ] || kill $tail
[ -f status ] && cat status || exit {_ENDED}
"""
    where = ssh.address
    waits = list(RETRIES_S)
    stopping = False
    while True:
        began = time.monotonic()
        try:
            status, out = ssh.run("exec sh -s", script.encode(), show=progress)
        except ConnectionLost as error:
            if time.monotonic() - began > STEADY_S:
                waits = list(RETRIES_S)
            if not waits:
                raise ServerError(
                    f"the connection to {where} is lost and cannot be restored; the {job.verb} goes on there",
                    hint="run the same command later to fetch its report",
                ) from error
            notify(
                f"the connection to {where} was lost; the {job.verb} goes on there; "
                f"trying again in {waits[0]:g} s"
            )
            time.sleep(waits.pop(0))
            continue
        except KeyboardInterrupt:
            if not job.keeps or stopping:
                _stop(ssh, job, notify)
                raise
            stopping = True
            notify(f"the {job.verb} on {where} is told to end; what it knows is fetched")
            ssh.shell(f'{ROOT}kill -TERM -"$(cat "$root/runs/{job.key}/pid")"')
            continue
        if status:
            raise ServerError(
                f"the {job.verb} on {where} was cut off before it ended, as by a restart; "
                "its results are lost",
                hint="run the same command to start it again",
            )
        return int(out.split()[-1])


def _stop(ssh: Ssh, job: RemoteCommand, notify: Notify) -> None:
    run = f'"$root/runs/{job.key}"'
    script = f"""{ROOT}
pid="$(cat {run}/pid)"
kill -TERM -"$pid"
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
kill -KILL -"$pid" 2>/dev/null
rm -rf {run}
"""
    try:
        ssh.shell(script)
    except PinnaceError:
        notify(f"{ssh.address} cannot be reached, so the {job.verb} goes on there")
    else:
        notify(f"the {job.verb} on {ssh.address} was stopped")


def _fetch(ssh: Ssh, job: RemoteCommand, status: int, read: Callable[[dict[str, bytes]], Made]) -> Made:
    """The files, after which nothing of the run is left there; or the error that the command ended with."""
    run = f'"$root/runs/{job.key}"'
    good = status == 0 or (job.keeps and status == _INTERRUPTED)
    if good:
        made = read({name: _read(ssh, f"{ROOT}cat {run}/{name} || :") for name in job.results})
    else:
        data = _read(ssh, f"{ROOT}cat {run}/err")
    _read(ssh, f"{ROOT}rm -rf {run}")
    if good:
        return made
    said = data.decode("utf-8", "replace").replace("\r", "\n")
    lines = said.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    message = lines[starts[-1]].removeprefix("error: ") if starts else f"pinnace ended with status {status}"
    fields = dict.fromkeys(("expected", "got", "help"), "")
    for line in lines[starts[-1] + 1 :] if starts else lines[-1:]:
        name, _, value = line.strip().partition(": ")
        if name in fields:
            fields[name] = value
    kind = {1: CheckFailed, 2: UsageError, 3: MissingDependency}.get(status, ServerError)
    raise kind(
        f"on {ssh.address}: {message}",
        expected=fields["expected"] or None,
        got=fields["got"] or None,
        hint=f"on the device: {fields['help']}" if fields["help"] else None,
    )


def _read(ssh: Ssh, script: str) -> bytes:
    """What a script prints; a lost connection is tried again, since nothing but reading is done."""
    for wait in RETRIES_S[:3]:
        try:
            return ssh.shell(script)[1]
        except ConnectionLost:
            time.sleep(wait)
    return ssh.shell(script)[1]
