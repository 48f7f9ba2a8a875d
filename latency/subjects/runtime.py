"""The subject that runs a bundle's variant in this process."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence

import numpy as np

from pinnace.latency.result_parts import Stages
from pinnace.latency.subjects.base import SubjectInfo
from pinnace.latency.subjects.compiled import FROM_SOURCE, row_variant
from pinnace.latency.subjects.eager import EagerTorch
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.manifest import Variant
from pinnace.models.errors import UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import open_variant


def variant_bytes(bundle: Bundle, variant: Variant) -> int:
    """The size of a variant's files."""
    return sum(bundle.path(file).stat().st_size for file in variant.all_files)


class RuntimeSubject:
    """Calls a runtime: `infer` alone, on an input that is ready, or end to end, from the bytes of images.

    `infer` gets the same input again and again, which is then in the CPU's caches, as it is when it has just
    been preprocessed.

    A call ends when its outputs are in the memory of the CPU, so on a GPU it is synchronised, and the
    transfers are in it.
    """

    at_once = 1

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant | None,
        runtime: str | None,
        options: RuntimeOptions,
        *,
        batch: int = 1,
        end_to_end: bool = False,
    ) -> None:
        """Load the variant; None is for the source's network, in one of the ways of `FROM_SOURCE`.

        Raises:
            PinnaceError: it cannot run here, or not in this batch; see `open_variant` and `EagerTorch`.
        """
        signature = bundle.manifest.signature
        fixed = signature.batch
        if fixed is None and batch != 1:
            raise UsageError(f"{bundle.name} takes 1 at a time", got=f"--batch {batch}")
        self.batch = batch
        self._bundle = bundle
        self._single = fixed is None
        self._golden: Arrays = bundle.golden()[0]
        self._name = signature.inputs[0].name
        self._ready: dict[tuple[int, int], Arrays] = {}
        self._parts: list[tuple[float, float, float]] = []
        self._images: list[bytes] = []
        if end_to_end:
            files = [photograph.file for photograph in bundle.manifest.golden.photographs]
            if not files or bundle.manifest.preprocess is None:
                raise UsageError(f"{bundle.name} has no photographs to decode", hint="leave out --end-to-end")
            self._images = [bundle.path(file).read_bytes() for file in files]
        self._samples = bundle.manifest.golden.samples
        self.library = len(self._images) or 1
        self._runtime = (
            FROM_SOURCE[runtime or EagerTorch.name](bundle, dataclasses.replace(options, batch=batch))
            if variant is None
            else open_variant(bundle, variant, runtime, dataclasses.replace(options, batch=batch))
        )
        shapes = {spec.name: spec.with_batch(batch) for spec in signature.inputs}
        self.info = SubjectInfo(
            model=bundle.name,
            source=bundle.manifest.source,
            variant=row_variant(runtime) if variant is None else variant.name,
            runtime=self._runtime.name,
            provider=self._runtime.provider,
            precision="fp32" if variant is None else variant.precision,
            device=self._runtime.device,
            threads=self._runtime.threads,
            timed="end-to-end" if end_to_end else "infer",
            input=shapes,
            file_bytes=None if variant is None else variant_bytes(bundle, variant),
        )

    def call(self, indices: Sequence[int]) -> None:
        """Run the model once on as many inputs."""
        started = decoded = prepared = time.perf_counter()
        if self._images:
            preprocess = self._bundle.preprocess
            whole = not preprocess.takes_window
            images = [open_image(self._images[index], whole=whole) for index in indices]
            decoded = time.perf_counter()
            feeds: Arrays = {self._name: np.stack([preprocess.apply(image) for image in images])}
            prepared = time.perf_counter()
        else:
            feeds = self._feeds(indices[0], len(indices))
        self._runtime.run(feeds)
        self._parts.append((decoded - started, prepared - decoded, time.perf_counter() - prepared))

    def _feeds(self, first: int, count: int) -> Arrays:
        """Inputs that are batched once and kept; which samples stand behind the first changes no time."""
        feeds = self._ready.get((first, count))
        if feeds is None:
            chosen = (first + np.arange(count)) % self._samples
            feeds = {
                name: np.ascontiguousarray(array[first] if self._single else array[chosen])
                for name, array in self._golden.items()
            }
            self._ready[first, count] = feeds
        return feeds

    def prepare(self, count: int) -> None:
        """Make every input that calls of so many will take, so that no call makes one."""
        if not self._images:
            for first in range(self.library):
                self._feeds(first, count)

    def stages(self) -> Stages:
        """Medians of the parts of the calls since this was last called."""
        parts, self._parts = self._parts, []
        if not parts:
            return Stages()
        decode, preprocess, compute = (
            1000 * statistics.median(column) for column in zip(*parts, strict=True)
        )
        if not self._images:
            return Stages(compute=compute)
        return Stages(decode=decode, preprocess=preprocess, compute=compute)

    def close(self) -> None:
        """Free the runtime."""
        self._runtime.close()
