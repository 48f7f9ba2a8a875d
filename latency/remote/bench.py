"""`pinnace bench --device`: the bundle goes there, the bench runs there, the report comes back.

On the device everything lies under `~/.cache/pinnace/device`: bundles by their version, so that a second
bench copies nothing, and a folder for each run that has not been fetched. A run is a session of its own
there: it goes on when the connection is lost, and the same command picks it up again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pinnace.latency import report
from pinnace.latency.remote.ssh import ConnectionLost, Ssh
from pinnace.latency.report import BenchSettings, Caveat, LatencyReport
from pinnace.latency.run import ALL, check_runtime
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import FILE_NAME
from pinnace.models.errors import (
    CheckFailed,
    MissingDependency,
    PinnaceError,
    ServerError,
    UsageError,
)
from pinnace.models.runtimes import readers_for

Notify = Callable[[str], None]  # called with a sentence for the user

# Seconds between the attempts to reach a device again.
RETRIES_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 30.0)
# A connection that held for so long was there again, so the attempts begin anew.
STEADY_S = 30.0

# Where pip puts programs for one user is not on the PATH of a command over ssh.
_ROOT = 'root="${XDG_CACHE_HOME:-$HOME/.cache}/pinnace/device"; PATH="$PATH:$HOME/.local/bin"; '
_NO_PROGRAM = 127
_GONE = 97
_ENDED = 98


@dataclass(frozen=True)
class Job:
    """A bench on a device.

    Attributes:
        bundle: what is measured.
        variant: as `--variant`.
        runtime: as `--runtime`.
        end_to_end: whether the photographs are needed.
        arguments: of `pinnace bench` there, besides the bundle.
        python: of the device, or None for the `pinnace` on its PATH.
    """

    bundle: Bundle
    variant: str | None
    runtime: str | None
    end_to_end: bool
    arguments: tuple[str, ...]
    python: str | None = None

    @property
    def program(self) -> str:
        """How `pinnace` is called there, as words of a shell."""
        return f"{shlex.quote(self.python)} -m pinnace.cli.main" if self.python else "pinnace"

    @property
    def key(self) -> str:
        """The same for the same bench of the same bundle."""
        parts = [self.bundle.version, *self.arguments, self.program]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def arguments(settings: BenchSettings, variant: str | None, runtime: str | None) -> tuple[str, ...]:
    """The options of `pinnace bench` that ask for the same there."""
    values = {
        "--scenario": ",".join(settings.scenarios),
        "--variant": variant,
        "--runtime": runtime,
        "--threads": settings.threads,
        "--provider": settings.provider,
        "--batch": settings.batch or None,
        "--duration": settings.duration_s,
        "--min-queries": settings.min_queries,
        "--rounds": settings.rounds,
        "--seed": settings.seed,
        "--max-p99": settings.max_p99_ms,
    }
    words = [word for name, value in values.items() if value is not None for word in (name, str(value))]
    flags = {"--mlperf": settings.mlperf, "--end-to-end": settings.end_to_end}
    return (*words, *(name for name, on in flags.items() if on))


def bench(ssh: Ssh, job: Job, notify: Notify, *, progress: bool = False) -> LatencyReport:
    """Run a bench on a device.

    Args:
        ssh: the device.
        job: what runs.
        notify: called with a sentence when the user should know of something, such as a lost connection.
        progress: whether to show the device's progress bar here.

    Raises:
        MissingDependency: pinnace, or something that it needs, is not installed there.
        UsageError, CheckFailed: the bench failed there with this error.
        ServerError: there is no connection, or it was lost and could not be restored.
    """
    where = ssh.address
    found = _state(ssh, job)
    if found == "running":
        notify(f"the same bench is already running on {where}; waiting for its report")
    elif found == "ended":
        notify(f"the same bench has finished on {where} before; fetching its report")
    else:
        if found == "lost":
            notify(
                f"an earlier run of the same bench was cut off on {where} and its results are lost; "
                "running it again"
            )
        files = _files(job, _runtimes(ssh, job))
        _copy(ssh, job.bundle, files)
        _start(ssh, job, progress=progress)
    status = _wait(ssh, job, notify, progress=progress)
    made = _fetch(ssh, job, status)
    if found in ("running", "ended"):
        words = f"this run began at {made.created}; the connection was lost, and the report was fetched later"
        made = replace(made, warnings=(*made.warnings, Caveat("connection", words)))
    return replace(made, settings=replace(made.settings, target=str(job.bundle.folder), via=str(where)))


def _state(ssh: Ssh, job: Job) -> str:
    """`none`, `running`, `ended`, or `lost` where a run died without a status."""
    script = f"""{_ROOT}
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


def _runtimes(ssh: Ssh, job: Job) -> tuple[str, ...]:
    """The names of the runtimes that work on the device."""
    status, out = ssh.shell(f"{_ROOT}exec {job.program} doctor --json")
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
            hint="on the device: pip install 'pinnace[cpu,bench]'; or name its Python: --device-python PATH",
        ) from None


def _files(job: Job, working: Sequence[str]) -> list[str]:
    """The files of the bundle that the bench will open there."""
    manifest = job.bundle.manifest
    check_runtime(job.runtime)
    variants = manifest.variants if job.variant in (None, ALL) else (job.bundle.variant(job.variant),)
    runtime = None if job.runtime == ALL else job.runtime
    runnable = [
        each
        for each in variants
        if any(reader.name in working for reader in readers_for(each.format, runtime))
    ]
    if not runnable:
        wanted = " in ".join(name for name in (job.variant or "any variant", job.runtime) if name)
        raise MissingDependency(
            f"nothing on the device can run {wanted} of {job.bundle.name}",
            got="runtimes there: " + (", ".join(working) or "none"),
            hint="on the device: pip install 'pinnace[cpu]'",
        )
    chosen = runnable[:1] if job.variant is None else runnable
    photographs = [each.file for each in manifest.golden.photographs] if job.end_to_end else []
    variant_files = [file for each in chosen for file in each.all_files]
    return list(dict.fromkeys([FILE_NAME, manifest.golden.file, *variant_files, *photographs]))


def _copy(ssh: Ssh, bundle: Bundle, files: Sequence[str]) -> None:
    """Send what is not there yet; what was cut off has another size, and is sent again."""
    folder = f"$root/bundles/{bundle.version}"
    listing = "\n".join(f"wc -c < {shlex.quote(file)} 2>/dev/null || echo 0" for file in files)
    status, out = ssh.shell(f'{_ROOT}mkdir -p "{folder}" && cd "{folder}" || exit 1\n{listing}\n')
    if status:
        raise ServerError(f"the folder ~/.cache/pinnace on {ssh.address} cannot be written")
    sizes = [int(line) for line in out.split()]
    there = {
        file for file, size in zip(files, sizes, strict=True) if bundle.path(file).stat().st_size == size
    }
    missing = [file for file in files if file not in there]
    if not missing:
        return
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for file in missing:
            tar.add(bundle.path(file), arcname=file)
    script = f'{_ROOT}cd "{folder}" && exec tar -xf -'
    status, _ = ssh.run(f"exec sh -c {shlex.quote(script)}", packed.getvalue())
    if status:
        raise ServerError(f"the bundle cannot be unpacked on {ssh.address}: tar ended with status {status}")


def _start(ssh: Ssh, job: Job, *, progress: bool) -> None:
    words = shlex.join([*job.arguments, "--progress" if progress else "--no-progress"])
    script = f"""{_ROOT}
mkdir -p "$root/runs/{job.key}" && cd "$root/runs/{job.key}" || exit 1
command -v setsid >/dev/null || exit {_NO_PROGRAM}
cat > run.sh <<'EOF'
echo $$ > pid
{job.program} bench "$1" {words} --json --report report.json >/dev/null 2>err </dev/null
echo $? > status.new && mv status.new status
EOF
: > err
setsid sh run.sh "$root/bundles/{job.bundle.version}" >/dev/null 2>&1 </dev/null &
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && exit 0; sleep 1; done
exit 1
"""
    status, _ = ssh.shell(script)
    if status:
        raise ServerError(f"the bench cannot be started on {ssh.address}: status {status}")


def _wait(ssh: Ssh, job: Job, notify: Notify, *, progress: bool) -> int:
    """Wait for the end, over as many connections as that takes, and return the exit status of the bench."""
    # While something is measured there, the watch costs one `sleep` a second.
    show = "tail -n +1 -f err >&2 & tail=$!" if progress else "tail="
    script = f"""{_ROOT}
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
    while True:
        began = time.monotonic()
        try:
            status, out = ssh.run("exec sh -s", script.encode(), show=progress)
        except ConnectionLost as error:
            if time.monotonic() - began > STEADY_S:
                waits = list(RETRIES_S)
            if not waits:
                raise ServerError(
                    f"the connection to {where} is lost and cannot be restored; the bench goes on there",
                    hint="run the same command later to fetch its report",
                ) from error
            notify(
                f"the connection to {where} was lost; the bench goes on there; trying again in {waits[0]:g} s"
            )
            time.sleep(waits.pop(0))
            continue
        except KeyboardInterrupt:
            _stop(ssh, job, notify)
            raise
        if status:
            raise ServerError(
                f"the bench on {where} was cut off before it ended, as by a restart; its results are lost",
                hint="run the same command to start it again",
            )
        return int(out.split()[-1])


def _stop(ssh: Ssh, job: Job, notify: Notify) -> None:
    run = f'"$root/runs/{job.key}"'
    script = f'{_ROOT}kill -TERM -"$(cat {run}/pid)"; rm -rf {run}'
    try:
        ssh.shell(script)
    except PinnaceError:
        notify(f"{ssh.address} cannot be reached, so the bench goes on there")
    else:
        notify(f"the bench on {ssh.address} was stopped")


def _fetch(ssh: Ssh, job: Job, status: int) -> LatencyReport:
    """The report, after which nothing of the run is left there; or the error that the bench ended with."""
    run = f'"$root/runs/{job.key}"'
    name = "report.json" if status == 0 else "err"
    data = _read(ssh, f"{_ROOT}cat {run}/{name}")
    if status == 0:
        made = report.parse(data, f"the report of {ssh.address}")
    _read(ssh, f"{_ROOT}rm -rf {run}")
    if status == 0:
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
