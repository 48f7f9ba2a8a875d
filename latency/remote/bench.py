"""`pinnace bench --device`: see `run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pinnace.latency import report
from pinnace.latency.openers import ALL, check_runtime
from pinnace.latency.remote import run as remote
from pinnace.latency.remote.run import Notify
from pinnace.latency.remote.ssh import Ssh
from pinnace.latency.report import LatencyReport
from pinnace.latency.result_parts import Caveat
from pinnace.latency.settings import BenchSettings
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import FILE_NAME
from pinnace.models.errors import MissingDependency
from pinnace.models.runtimes import readers_for


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


def arguments(settings: BenchSettings, variant: str | None, runtime: str | None) -> tuple[str, ...]:
    """The options of `pinnace bench` that ask for the same there."""
    values = {
        "--scenario": ",".join(settings.scenarios),
        "--variant": variant,
        "--runtime": runtime,
        "--threads": settings.threads,
        "--provider": settings.provider,
        "--batch": settings.batch or None,
        "--soak": None if settings.soak_s is None else f"{settings.soak_s:g}s",
        "--duration": settings.duration_s if settings.soak_s is None else None,
        "--min-queries": settings.min_queries,
        "--rounds": settings.rounds if settings.soak_s is None else None,
        "--seed": settings.seed,
        "--max-p99": settings.max_p99_ms,
    }
    words = [word for name, value in values.items() if value is not None for word in (name, str(value))]
    words += [
        word
        for name, swept in settings.sweep.items()
        for word in ("--sweep", f"{name}={','.join(map(str, swept))}")
    ]
    flags = {"--mlperf": settings.mlperf, "--end-to-end": settings.end_to_end, "--cold": settings.cold}
    return (*words, *(name for name, on in flags.items() if on))


def bench(ssh: Ssh, job: Job, notify: Notify, *, progress: bool = False) -> LatencyReport:
    """Run a bench on a device.

    Args:
        ssh: the device.
        job: what runs.
        notify: called with a sentence when the user should know of something, such as a lost connection.
        progress: whether to show the device's progress bar here.

    Raises:
        As `run`.
    """
    where = ssh.address
    command = remote.RemoteCommand(job.bundle, "bench", job.arguments, python=job.python)
    made, late = remote.run(
        ssh,
        command,
        lambda working: _files(job, working),
        lambda files: report.parse(files["report.json"], f"the report of {where}"),
        notify,
        progress=progress,
    )
    if late:
        words = f"this run began at {made.created}; the connection was lost, and the report was fetched later"
        made = replace(made, warnings=(*made.warnings, Caveat("connection", words)))
    return replace(made, settings=replace(made.settings, target=str(job.bundle.folder), via=str(where)))


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
            hint="`pinnace doctor` on the device says how to install one",
        )
    chosen = runnable[:1] if job.variant is None else runnable
    photographs = [each.file for each in manifest.golden.photographs] if job.end_to_end else []
    variant_files = [file for each in chosen for file in each.all_files]
    return list(dict.fromkeys([FILE_NAME, manifest.golden.file, *variant_files, *photographs]))
