"""The configurations of a bundle on this machine, and what cannot run here with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.signature import BATCH
from pinnace.models.cpus import available_cpus
from pinnace.models.devices import Device
from pinnace.models.errors import PinnaceError
from pinnace.models.profile import Configuration
from pinnace.models.runtimes import runtimes_for
from pinnace.models.runtimes.base import Runtime

BATCHES = (1, 4, 16)


class Pair(NamedTuple):
    """A variant in a runtime, and on which device, if that is not where the runtime runs by itself."""

    variant: str
    runtime: str
    device: Device | None = None

    def __str__(self) -> str:
        where = f" on {self.device}" if self.device is not None else ""
        return f"{self.variant} in {self.runtime}{where}"


@dataclass(frozen=True)
class Excluded:
    """What does not take part, or no longer does.

    Attributes:
        what: a configuration, or a variant in a runtime.
        reason: why, as the end of a sentence.
    """

    what: str
    reason: str


@dataclass(frozen=True)
class Space:
    """What may race.

    Attributes:
        pairs: each variant in each runtime that works here, those that are preferred first.
        excluded: those that do not.
    """

    pairs: tuple[Pair, ...]
    excluded: tuple[Excluded, ...]


def pairs_of(
    bundle: Bundle, variants: Sequence[str] = (), runtimes: Sequence[str] = (), *, exact: bool = False
) -> Space:
    """Every variant in every runtime that reads it, those included that otherwise have to be asked for.

    Args:
        bundle: the bundle.
        variants: only these; all where there are none.
        runtimes: only these; all where there are none.
        exact: leave out what is less exact than fp32, because nothing judges it.

    Raises:
        UsageError: the bundle has no such variant.
    """
    pairs: list[Pair] = []
    excluded: list[Excluded] = []
    for variant in [bundle.variant(name) for name in variants] or bundle.manifest.variants:
        for reader in runtimes_for(variant.format):
            if runtimes and reader.name not in runtimes:
                continue
            problem = reader.unavailable_reason()
            if problem is None:
                try:
                    reader.check_variant(bundle, variant)
                except PinnaceError as error:
                    problem = error.message
            if problem is None and exact and (variant.precision != "fp32" or reader.opt_in):
                problem = "it is less exact than fp32, and without --images nothing says how much"
            pair = Pair(variant.name, reader.name)
            if problem is not None:
                excluded.append(Excluded(str(pair), problem))
                continue
            pairs.append(pair)
            for device in get_args(Device):
                if device not in reader.devices[1:] or device == "auto":
                    continue
                pair = Pair(variant.name, reader.name, device)
                problem = reader.device_problem(device)
                if problem is None:
                    pairs.append(pair)
                elif device == "cuda":
                    excluded.append(Excluded(str(pair), problem))
    return Space(tuple(pairs), tuple(excluded))


def configurations(
    bundle: Bundle, pairs: Sequence[Pair], readers: dict[str, type[Runtime]], cpus: int | None = None
) -> list[Configuration]:
    """Each pair with every sensible number of threads and processes, and every batch.

    Threads are powers of two up to the CPUs, and all CPUs. With each number of threads there is one process,
    and as many as the CPUs have room for. Where a runtime works on a GPU there is one process with one
    thread, because a second one would hold a second copy of the model there.

    Args:
        bundle: what it says of batches.
        pairs: variants in runtimes.
        readers: the runtimes by name.
        cpus: by default those that this process may use.
    """
    cpus = available_cpus() if cpus is None else cpus
    signature, most = bundle.manifest.signature, bundle.manifest.batch[1]
    batches = [batch for batch in BATCHES if batch <= most] if signature.batch == BATCH else [1]
    found = []
    for variant, runtime, device in pairs:
        on_gpu = (device or readers[runtime].devices[0]) != "cpu"
        for threads, processes in [(1, 1)] if on_gpu else shares(cpus):
            found += [Configuration(variant, runtime, threads, processes, batch, device) for batch in batches]
    return found


def shares(cpus: int) -> list[tuple[int, int]]:
    """Threads and processes: each number of threads alone and in as many processes as have room."""
    counts = sorted({*(2**power for power in range(cpus.bit_length()) if 2**power <= cpus), cpus})
    pairs = [(threads, processes) for threads in counts for processes in (1, cpus // threads)]
    return list(dict.fromkeys(pairs))
