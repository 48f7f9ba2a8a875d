"""A profile: the configuration that `pinnace tune` found best for one bundle on one machine.

It stands in the bundle's folder, so that it goes where the bundle goes and disappears when the bundle is
exported again. It is not among the files that the manifest has hashes of: to tune a bundle leaves its version
as it is. What it is tied to is checked whenever it is read.
"""

from __future__ import annotations

import contextlib
import json
import platform
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.cpu_identity import cpu_model, isa_flags
from pinnace.models.cpus import available_cpus
from pinnace.models.devices import Device
from pinnace.models.errors import UsageError
from pinnace.models.files import read_regular, write_atomic
from pinnace.models.runtimes import all_runtimes, cuda

FILE_NAME = "profile.json"
# Of other machines, such as `profile.orin.json`.
_FILES = "profile*.json"
SCHEMA_VERSION = 1
MOST_BYTES = 1 << 20

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Machine:
    """What a profile is tied to, beside the bundle.

    Attributes:
        cpu: the CPU's name.
        flags: the instructions that decide which kernels a runtime picks.
        cpus: CPUs that a process may keep busy.
        gpu: the first GPU, where the profile's runtime runs on it; else None.
        runtime: the version of the profile's runtime.
    """

    cpu: str
    flags: tuple[str, ...]
    cpus: int
    gpu: str | None
    runtime: str


@dataclass(frozen=True)
class Configuration:
    """One way to run a bundle.

    Attributes:
        variant: such as `onnx-int8`.
        runtime: such as `openvino`.
        threads: CPU threads of one call.
        processes: processes that work at the same time.
        batch: images of one call.
        device: where, if that is not where the runtime runs by itself.
    """

    variant: str
    runtime: str
    threads: Count = 1
    processes: Count = 1
    batch: Count = 1
    device: Device | None = None

    def __str__(self) -> str:
        where = f" on {self.device}" if self.device is not None else ""
        parts = [f"{self.variant} in {self.runtime}{where}", _count(self.processes, "process", "processes")]
        parts.append(_count(self.threads, "thread", "threads"))
        return ", ".join(parts) + (f", batch {self.batch}" if self.batch > 1 else "")

    def command(self, bundle: Path | str) -> str:
        """The command that serves a bundle like this."""
        text = (
            f"pinnace serve {bundle} --variant {self.variant} --runtime {self.runtime} "
            f"--workers {self.processes} --threads {self.threads}"
        )
        text += f" --device {self.device}" if self.device is not None else ""
        return f"PINNACE_MAX_BATCH={self.batch} {text}" if self.batch > 1 else text


@dataclass(frozen=True)
class ProfileFigures:
    """What was measured of the configuration.

    Attributes:
        images_per_second: from JPEG bytes to the answer, in the race.
        p99_ms: the 99th percentile of a call in the race.
        points_lost: points of top-1 lost against fp32, or hundredths of first classes that differ; None where
            it was not judged.
        served_images_per_second: the highest rate of a real server within the bound, or None.
        served_p99_ms: the 99th percentile at that rate, or None.
    """

    images_per_second: float
    p99_ms: float
    points_lost: float | None = None
    served_images_per_second: float | None = None
    served_p99_ms: float | None = None


@dataclass(frozen=True)
class Profile:
    """The best configuration of one bundle on one machine.

    Attributes:
        schema_version: of this file.
        bundle: the version of the bundle.
        machine: where it was measured.
        configuration: the winner.
        objective: `throughput`, `latency` or `energy`.
        figures: what was measured of it.
        created: when, in UTC.
        pinnace: by which version.
    """

    schema_version: int
    bundle: str
    machine: Machine
    configuration: Configuration
    objective: str
    figures: ProfileFigures
    created: str
    pinnace: str
    settings: dict[str, float | int | str | None] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The bytes of `profile.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode() + b"\n"


_ADAPTER = TypeAdapter(Profile)


def this_machine(
    runtime: str, cpuinfo: Path = Path("/proc/cpuinfo"), *, device: str | None = None
) -> Machine:
    """This machine, for a profile whose configuration runs in this runtime, on this device."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    reader = all_runtimes().get(runtime)
    available = reader is not None and reader.unavailable_reason() is None
    on_gpu = available and reader is not None and "cuda" in (device, reader.devices[0])
    return Machine(
        cpu=cpu_model(text) or platform.processor() or platform.machine() or "unknown CPU",
        flags=isa_flags(text),
        cpus=available_cpus(),
        gpu=cuda.gpu().name if on_gpu and cuda.unavailable_reason() is None else None,
        runtime=reader.version() if available and reader is not None else "",
    )


def file_name(machine: str | None = None) -> str:
    """The name of the file of this machine's profile, or of that of another by its name."""
    if machine is None:
        return FILE_NAME
    return f"profile.{re.sub(r'[^A-Za-z0-9_.-]+', '_', machine).strip('.')}.json"


def files(folder: Path) -> list[Path]:
    """The profiles in a bundle's folder, this machine's own first."""
    return sorted(folder.glob(_FILES), key=lambda path: (path.name != FILE_NAME, path.name))


def write(profile: Profile, folder: Path, name: str = FILE_NAME) -> Path:
    """Write a profile of the bundle in this folder, whole or not at all.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = folder / name
    try:
        write_atomic(path, profile.to_json())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            hint="copy the bundle to a place that can be written, or give the winner's options to `pinnace "
            "serve`",
        ) from None
    return path


def read(folder: Path) -> Profile | None:
    """This machine's profile in a bundle's folder, or None where there is none.

    Raises:
        UsageError: it is damaged, or another version of Pinnace wrote it.
    """
    path = folder / FILE_NAME
    return read_file(path) if path.is_file() else None


def read_file(path: Path) -> Profile:
    """The profile in a file.

    Raises:
        UsageError: it cannot be read, is damaged, or another version of Pinnace wrote it.
    """
    try:
        data = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, path: str) -> Profile:
    """The profile in the bytes of a file, which messages call `path`.

    Raises:
        UsageError: it is damaged, or another version of Pinnace wrote it.
    """
    try:
        profile = _ADAPTER.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} is damaged: {where}: {first['msg']}") from None
    if profile.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"{path} has another schema version",
            expected=str(SCHEMA_VERSION),
            got=str(profile.schema_version),
        )
    return profile


def copy(bundle: Bundle, copied: Bundle) -> None:
    """Give a copy of a bundle, which may have fewer variants, those of its profiles that hold for both.

    The copy's manifest is another, and so is its version, which is what its profiles are tied to.
    """
    names = [variant.name for variant in copied.manifest.variants]
    for path, found in of_bundle(bundle):
        if found.configuration.variant in names:
            write(replace(found, bundle=copied.version), copied.folder, path.name)


def of_bundle(bundle: Bundle) -> list[tuple[Path, Profile]]:
    """The profiles of this version of a bundle, of whatever machine; those that are damaged are left out."""
    found = []
    for path in files(bundle.folder):
        with contextlib.suppress(UsageError):
            found.append((path, read_file(path)))
    return [(path, profile) for path, profile in found if profile.bundle == bundle.version]


def find(bundle: Bundle) -> tuple[Profile | None, str | None]:
    """The profile that holds for a bundle on this machine, or what is wrong with the first of them.

    Returns:
        The profile, or None; and where there are profiles and none holds, why the first does not.
    """
    problem: str | None = None
    for path in files(bundle.folder):
        try:
            profile = read_file(path)
            wrong = why_not(profile, bundle)
        except UsageError as error:
            wrong = error.message
        if wrong is None:
            return profile, None
        problem = problem or f"{path} is not used: {wrong.removeprefix(f'{path} ')}"
    return None, problem


def why_not(profile: Profile, bundle: Bundle, machine: Machine | None = None) -> str | None:
    """Why a profile does not hold for this bundle on this machine; None where it does."""
    chosen, made = profile.configuration, profile.machine
    if profile.bundle != bundle.version:
        return "it was made for another version of the bundle"
    reader = all_runtimes().get(chosen.runtime)
    variant = next((each for each in bundle.manifest.variants if each.name == chosen.variant), None)
    if variant is None or reader is None or variant.format not in reader.formats:
        return f"it names {chosen.variant} in {chosen.runtime}, which the bundle does not have"
    if (problem := reader.unavailable_reason()) is not None:
        return f"it names the runtime {chosen.runtime}, which does not work here: {problem}"
    if chosen.device is not None and (problem := reader.device_problem(chosen.device)) is not None:
        return f"it names the device {chosen.device}: {problem}"
    here = machine or this_machine(chosen.runtime, device=chosen.device)
    if (made.cpu, made.flags, made.gpu) != (here.cpu, here.flags, here.gpu):
        there, now = (" with ".join(filter(None, (each.cpu, each.gpu))) for each in (made, here))
        same = there == now
        return "it was made on another machine: " + (
            f"a {there} with other instructions" if same else f"{there}, and this is {now}"
        )
    if made.cpus != here.cpus:
        return f"it was made with {_count(made.cpus, 'CPU', 'CPUs')}, and here there are {here.cpus}"
    if made.runtime != here.runtime:
        return f"it was made with {chosen.runtime} {made.runtime}, and here is {here.runtime}"
    return None


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
