"""What every runtime is: a signature, `run`, and a context manager."""

from __future__ import annotations

import abc
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.bundle.signature import Signature
from pinnace.models.cpus import available_cpus
from pinnace.models.devices import DEVICES
from pinnace.models.errors import BundleError, PinnaceError, UsageError, error_lines
from pinnace.models.install import install_line

Feeds = Mapping[str, npt.NDArray[np.generic]]
Outputs = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class RuntimeOptions:
    """How to run.

    Attributes:
        threads: CPU threads for one call; by default the CPUs this process may use.
        device: one of `models.devices.DEVICES`; None for the one that the runtime prefers.
        concurrency: calls from several threads that should run at once rather than one after the other.
        batch: how many samples most calls have; a runtime may be faster for it, and takes any other.
    """

    threads: int = field(default_factory=available_cpus)
    device: str | None = None
    concurrency: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("threads", "concurrency", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1", got=str(getattr(self, name)))
        if self.device not in (None, *DEVICES):
            raise UsageError("unknown device", expected="one of " + ", ".join(DEVICES), got=self.device)


class Runtime(abc.ABC):
    """Something that executes a variant; open it in a `with` statement.

    Attributes:
        name: what users call it.
        formats: the variant formats it reads.
        module: the package that must be importable.
        extra: the extra of Pinnace that brings the package, where one does.
        install_line: the command that installs the package, where no extra does.
        rank: lower is preferred where several read the same format.
        devices: where it can run, the preferred one first.
        concurrent: `run` may be called from several threads at once; where it is False, whoever has several
            threads lets one call in at a time.
        may_crash_on: precisions of files on some of which the library has crashed; an export loads such files
            in a process of their own first.
        opt_in: it runs only where it is asked for by name, because its answers are less exact than the file.
        device: where it runs.
        provider: what actually executes, as the runtime itself reports it.
        threads: CPU threads it was told to use.
    """

    name: ClassVar[str]
    formats: ClassVar[tuple[str, ...]]
    module: ClassVar[str]
    extra: ClassVar[str | None] = None
    install_line: ClassVar[str | None] = None
    rank: ClassVar[int]
    devices: ClassVar[tuple[str, ...]]
    concurrent: ClassVar[bool] = True
    may_crash_on: ClassVar[tuple[str, ...]] = ()
    opt_in: ClassVar[bool] = False
    provider: str

    def __init__(self, path: Path, signature: Signature, options: RuntimeOptions) -> None:
        """Load the file.

        Args:
            path: the variant's file.
            signature: inputs and outputs as the manifest has them.
            options: threads and device.

        Raises:
            BundleError: the file cannot be loaded.
            UsageError: the device asked for is not the one that would run.
        """
        self.path = path
        self.signature = signature
        self.threads = options.threads
        self.device = options.device or self.devices[0]
        if self.device not in self.devices:
            raise UsageError(
                f"runtime {self.name} does not run on {self.device}",
                expected=" or ".join(self.devices),
                got=self.device,
            )

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this runtime does not work here, or None if it does."""
        if importlib.util.find_spec(cls.module) is None:
            return f"the package {cls.module} is not installed"
        return None

    @classmethod  # noqa: B027 -- most start threads, or import nothing that takes long
    def preload(cls) -> None:
        """Import what may be imported in a process that is forked later: what starts no thread."""

    @classmethod
    def runs_on(cls, device: str | None) -> bool:
        """Whether it is made for a device, be there one or not; None stands for the one that it prefers."""
        return device in (None, *cls.devices)

    @classmethod
    def device_problem(cls, device: str) -> str | None:
        """Why this runtime, which works here, does not work on a device, or None if it does."""
        return None if device in cls.devices else f"{cls.name} does not run on {device}"

    @classmethod
    def found_devices(cls) -> tuple[str, ...]:
        """What this runtime, which works here, finds to run on, in its own words; empty if it cannot say."""
        return ()

    @classmethod
    def install_hint(cls) -> str | None:
        """The command that mends what `unavailable_reason` says, or None where no command does."""
        return cls.how_to_install()

    @classmethod
    def how_to_install(cls) -> str:
        """The command that installs the package."""
        return cls.install_line or install_line(cls.extra or "cpu")

    @classmethod
    def check_variant(cls, bundle: Bundle, variant: Variant) -> None:
        """Refuse a variant that was made for another machine or runtime, before its file is read.

        Raises:
            BundleError: the variant cannot run here; the hint is the command that makes one that can, or
                leaves this runtime out.
        """
        # What one runtime does to a file, another that is made of it does too.
        kinds = [kind for kind in cls.__mro__ if issubclass(kind, Runtime) and hasattr(kind, "name")]
        reasons = (variant.unproved_in.get(kind.name) for kind in kinds)
        if (reason := next(filter(None, reasons), None)) is not None:
            raise BundleError(
                f"{variant.name} does not answer in {cls.name} as it should, as the export found ({reason})",
                hint=f"another runtime answers where --runtime {cls.name} is left out",
            )

    @classmethod
    def tolerance(cls, variant: Variant) -> Tolerance:
        """What the answers to a variant have to keep in this runtime."""
        return variant.tolerance

    @classmethod
    def faster_than(cls) -> tuple[str, ...]:
        """The names of runtimes that read the same files as exactly, and take longer on this CPU."""
        return ()

    @classmethod
    def snippet(cls, file: Path) -> str | None:
        """Python lines that define `run(feeds)` for a file, with nothing but the runtime's own package.

        A script that shows a failure begins with them. `DATA` is the folder of the file there, and `outputs`
        has the names of the outputs. None where such a script cannot be written.
        """
        return None

    @classmethod
    @abc.abstractmethod
    def version(cls) -> str:
        """The version of the package."""

    @abc.abstractmethod
    def _run(self, feeds: Feeds) -> Outputs:
        """Execute once; the feeds are checked and contiguous."""

    def run(self, feeds: Feeds) -> Outputs:
        """Execute the model on any number of samples.

        A model that takes batches of one fixed size is called as often as the samples need; the last sample
        is repeated where they do not fill a batch, and what the model answers to the copies is cut off.

        Args:
            feeds: one array per input, by name, of the signature's dtype and shape.

        Returns:
            One array per output, by name, owned by the caller.

        Raises:
            UsageError: an input is missing, unknown, or of another dtype or shape.
            BundleError: the file does not do what the signature says.
        """
        fixed = self.signature.batch
        if not isinstance(fixed, int):
            self._check(feeds, any_batch=False)
            return self._run_once(feeds)
        self._check(feeds, any_batch=True)
        counts = {len(array) for array in feeds.values()}
        if len(counts) != 1:
            raise UsageError(
                "the model's inputs have different numbers of samples",
                got=", ".join(f"{name}: {len(array)}" for name, array in feeds.items()),
            )
        (count,) = counts
        if count == fixed:
            return self._run_once(feeds)
        parts = []
        for start in range(0, count, fixed):
            piece = {name: array[start : start + fixed] for name, array in feeds.items()}
            missing = fixed - min(fixed, count - start)
            if missing:
                piece = {
                    name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
                    for name, array in piece.items()
                }
            answers = self._run_once(piece)
            parts.append({name: array[: fixed - missing] for name, array in answers.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check(self, feeds: Feeds, *, any_batch: bool) -> None:
        for spec in self.signature.inputs:
            array = feeds.get(spec.name)
            if array is None:
                raise UsageError(
                    f"the model's input {spec.name} is missing",
                    expected=", ".join(map(str, self.signature.inputs)),
                    got=", ".join(feeds) or "nothing",
                )
            first = any_batch and array.shape[:1] > (0,)
            fits = len(array.shape) == len(spec.shape) and all(
                isinstance(want, str) or want == have or (first and not axis)
                for axis, (want, have) in enumerate(zip(spec.shape, array.shape, strict=True))
            )
            if array.dtype != spec.dtype or not fits:
                raise UsageError(
                    f"the model's input {spec.name} has the wrong dtype or shape",
                    expected=str(spec),
                    got=f"{array.dtype}[{','.join(map(str, array.shape))}]",
                )
        if unknown := set(feeds) - set(self.signature.input_names):
            raise UsageError(
                f"the model has no input {sorted(unknown)[0]}",
                expected=", ".join(map(str, self.signature.inputs)),
            )

    def _run_once(self, feeds: Feeds) -> Outputs:
        try:
            # Not ascontiguousarray, which gives a scalar a dimension.
            return self._run({name: np.require(array, requirements="C") for name, array in feeds.items()})
        except PinnaceError:
            raise
        except Exception as error:  # each library raises classes of its own
            raise BundleError(f"{self.name} cannot run {self.path}: {error_lines(error)[-1]}") from error

    @abc.abstractmethod
    def close(self) -> None:
        """Free what the runtime holds; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
