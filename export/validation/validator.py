"""Each variant is run before it is handed over: on the golden inputs, and on photographs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pinnace.export.calibration_images import PreparedImages
from pinnace.export.formats import conversion_of, format_of, precision_of
from pinnace.export.request import REFERENCE, ExportedFiles
from pinnace.export.validation import divergence, parity, photographs
from pinnace.export.validation.parity import Arrays
from pinnace.export.validation.photographs import Photographs, pick
from pinnace.export.validation.trial import crash
from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Golden, Photograph, Variant, weights_file
from pinnace.models.bundle.measurements import Parity, Proof, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.errors import BundleError, CheckFailed, MissingDependency
from pinnace.models.files import sha256
from pinnace.models.install import install_line
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.runtimes import runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions
from pinnace.models.variant_name import VariantName

# Samples on which a variant failed, in the form of the golden data.
FAILING = "failing.npz"


@dataclass(frozen=True)
class Validator:
    """Compares the variants of one bundle with the eager model.

    Attributes:
        folder: where their files are.
        exported: what the loader and the formats wrote and learnt.
        meaning: what the outputs mean.
        tolerance: by precision.
        photographs: the golden ones and the user's, with what fp32 answers; None for a model of no images.
        progress: told before each step.
        notes: sentences about runtimes that cannot load a variant that others can, or that answer otherwise.
    """

    folder: Path
    exported: ExportedFiles
    meaning: Outputs
    tolerance: dict[str, Tolerance]
    photographs: Photographs | None
    progress: Progress
    notes: list[str] = field(default_factory=list)

    def validate(self, name: VariantName, file: str) -> Variant:
        """Run a variant in every runtime of this machine that reads it and need not be asked for by name.

        Where one of them proves it, those that answer otherwise are left out of it.

        Args:
            name: the variant's.
            file: its file in the folder.

        Raises:
            CheckFailed: it is further from the eager model, or on photographs from fp32, than its precision
                may be, in all of them.
            MissingDependency: no runtime here reads it.
        """
        path = self.folder / file
        weights = weights_file(file) if (self.folder / weights_file(file)).is_file() else None
        conversion = conversion_of(name)
        variant = Variant(
            name=str(name),
            format=name.format,
            precision=precision_of(name),
            file=file,
            sha256=sha256(path),
            bytes=sum((self.folder / each).stat().st_size for each in filter(None, (file, weights))),
            weights=weights,
            parity=None,
            tolerance=self.tolerance.get(precision_of(name), Tolerance()),
            activations=self.exported.activations.get(name, conversion.activations if conversion else None),
            exporter=self.exported.exporters.get(name),
            quantisation=self.exported.quantisations.get(name),
        )
        refused: dict[str, BundleError] = {}
        answers_otherwise: dict[str, CheckFailed] = {}
        crashed: dict[str, str] = {}
        for runtime_class in runtimes_for(name.format):
            if runtime_class.opt_in or runtime_class.unavailable_reason() is not None:
                continue
            self.progress(Event(Stage.COMPARE, str(name), runtime_class.name))
            signature = self.exported.signature
            if variant.precision in runtime_class.may_crash_on and (
                died := crash(runtime_class.name, path, signature, options(name))
            ):
                crashed[runtime_class.name] = f"it crashed when it loaded the file ({died})"
                continue
            try:
                with runtime_class(path, signature, options(name)) as runtime:
                    measured = self._golden(name, variant, runtime)
                    if variant.parity is None:
                        variant = replace(
                            variant, parity=measured, proof=self._photographs(name, variant, runtime)
                        )
            except BundleError as error:
                refused[runtime_class.name] = error
            except CheckFailed as error:
                answers_otherwise[runtime_class.name] = error
        if answers_otherwise:
            if variant.parity is None:
                # The first one's samples are those that were kept.
                raise next(iter(answers_otherwise.values()))
            variant = self._left_out(variant, answers_otherwise)
        if crashed:
            variant = self._without_crashed(variant, crashed)
        if variant.parity is None and refused:
            first = next(iter(refused.values()))
            raise CheckFailed(f"{first.message}; no bundle was written", hint=first.hint) from first
        self.notes.extend(
            f"{name} was not proved in {runtime}, which does not run it: "
            + problem.message.replace(str(path), path.name)
            for runtime, problem in refused.items()
        )
        if variant.parity is None:
            hints = [hint for reader in runtimes_for(name.format) if (hint := reader.install_hint())]
            raise MissingDependency(
                f"{name} cannot be proved here: no runtime that reads it is installed",
                hint=" or ".join(hints) or None,
            )
        return variant

    def _left_out(self, variant: Variant, answers_otherwise: dict[str, CheckFailed]) -> Variant:
        """The variant with the runtimes in which it is not to run, because they answer otherwise."""
        assert variant.parity is not None
        (self.folder / FAILING).unlink(missing_ok=True)
        reasons = {
            name: f"expected {error.expected}, got {error.got}" for name, error in answers_otherwise.items()
        }
        self.notes.extend(
            f"{name} does not answer to {variant.name} like {self._original} ({reason}), so it is left out, "
            f"and {variant.parity.runtime} answers"
            for name, reason in reasons.items()
        )
        return replace(variant, unproved_in=reasons)

    def _without_crashed(self, variant: Variant, crashed: dict[str, str]) -> Variant:
        """The variant with the runtimes that would take whoever loads it with them.

        Raises:
            CheckFailed: no other has proved it.
        """
        if variant.parity is None:
            runtime, how = next(iter(crashed.items()))
            raise CheckFailed(
                f"{variant.name} cannot be proved in {runtime}: {how}; no bundle was written",
                hint="leave it out with --precision, or install another runtime that reads it",
            )
        self.notes.extend(
            f"{variant.name} is left out of {runtime}: {how}; {variant.parity.runtime} answers"
            for runtime, how in crashed.items()
        )
        return replace(variant, unproved_in={**variant.unproved_in, **crashed})

    def _golden(self, name: VariantName, variant: Variant, runtime: Runtime) -> Parity:
        stored = stored_golden(self.exported)
        inputs, outputs, tolerance = photographs.judged(
            stored, *golden.read(self.folder / golden.FILE), runtime.tolerance(variant)
        )
        noise = parity.noise_of(stored, variant, runtime.tolerance(variant))
        result = parity.measure(runtime, inputs, outputs, meaning=self.meaning, noise=noise)
        broken = parity.excess(result, tolerance)
        if broken is not None:
            save_failing_samples(self.folder, inputs, outputs)
        self._judge(name, runtime, broken, f"answer like {self._original}")
        return result

    def _photographs(self, name: VariantName, variant: Variant, runtime: Runtime) -> Proof | None:
        if self.photographs is None:
            return None
        inputs, outputs = self.photographs.inputs, self.photographs.outputs
        answers = photographs.run(runtime, inputs)
        tolerance = runtime.tolerance(variant)
        scale = None
        if not tolerance.photographs_only:
            # As on the golden samples, here and in verify.
            every = golden.read(self.folder / golden.FILE)[1]
            scale = {name: np.concatenate([parity.rows(every[name]), parity.rows(outputs[name])])
                     for name in outputs}  # fmt: skip
        result = photographs.compare(
            outputs, answers, meaning=self.meaning, runtime=runtime.name, scale=scale
        )
        noise = parity.noise_of(stored_golden(self.exported), variant, tolerance)
        if noise and tolerance.max_rel is not None:
            most = max(noise[sample] for sample in self.exported.photographs.values())
            tolerance = replace(tolerance, max_rel=tolerance.max_rel + parity.NOISE_FACTOR * most)
        broken = photographs.excess(result, tolerance)
        if broken is not None:
            worst = photographs.worst_first(outputs, answers)[: divergence.SAMPLES]
            save_failing_samples(self.folder, pick(inputs, worst), pick(outputs, worst))
        self._judge(name, runtime, broken, f"answer like fp32 on {result.images} photographs")
        return result

    def _judge(self, name: VariantName, runtime: Runtime, broken: tuple[str, str] | None, what: str) -> None:
        if broken is None:
            return
        expected, got = broken
        raise CheckFailed(
            f"{name} in {runtime.name} does not {what}; no bundle was written",
            expected=expected,
            got=got,
            hint=self._why(name),
        )

    @property
    def _original(self) -> str:
        return original(self.exported)

    def _why(self, name: VariantName) -> str | None:
        """The first node of a converted graph that differs from the fp32 one, or what tracing warned of."""
        if conversion_of(name) is not None and REFERENCE in self.exported.files:
            self.progress(Event(Stage.FIND_DIVERGENCE, str(name)))
            feeds, _ = golden.read(self.folder / FAILING)
            found = divergence.first_divergence(
                self.folder / self.exported.files[REFERENCE],
                self.folder / self.exported.files[name],
                feeds,
                one_by_one=is_fixed(self.exported),
            )
            return None if found is None else f"the first node that differs from {REFERENCE} is {found}"
        if self.exported.is_given_file(name) and precision_of(name) != "fp32":
            return (
                f"the file computes in {precision_of(name)} already, and its answers depend on how a runtime "
                f"rounds: give the float32 file that it was made from, and {precision_of(name)} is made of "
                f"that with --precision {precision_of(name)}"
            )
        warned = self.exported.warnings.get(name, ())
        if not warned:
            return self._own_format(name)
        return f"the code branches on the data, and tracing recorded only one branch; see {warned[0]}"

    def _own_format(self, name: VariantName) -> str | None:
        """Which format to take of a file of torch that another format does not answer like.

        Quantised networks are such: ONNX Runtime rounds their whole numbers otherwise than torch.
        """
        own = [each.format for each in self.exported.files if each.format != name.format]
        if not self.exported.exported or not own:
            return None
        return f"leave {name.format} out with --format {own[0]}, which runs the file as it is"


def save_failing_samples(folder: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write down samples on which a variant fails, for the script that shows it; the bundle is not to be.

    Args:
        folder: where the variants' files are.
        inputs: by tensor name; first dimension the sample.
        outputs: what the variant should have answered.

    Those of the runtime that failed first stay, because its error is the one that is told.
    """
    if not (folder / FAILING).exists():
        golden.write(folder / FAILING, dict(inputs), dict(outputs))


def original(exported: ExportedFiles) -> str:
    """Whose answers the golden outputs are."""
    return "the file that was given" if exported.exported else "the eager model"


def options(variant: VariantName) -> RuntimeOptions:
    """How a variant is run while it is proved: on the device that it needs, if it needs one."""
    return RuntimeOptions(device=format_of(variant).devices.get(variant.precision))


def is_fixed(exported: ExportedFiles) -> bool:
    """Whether the model takes one sample at a time."""
    return exported.signature.batch == 1


def stored_golden(exported: ExportedFiles) -> Golden:
    """The golden data as the manifest names them."""
    return Golden(
        golden.FILE,
        exported.samples,
        tuple(Photograph(file, sample) for file, sample in exported.photographs.items()),
        exported.float32_noise,
    )


def reference_photographs(
    folder: Path, exported: ExportedFiles, given: PreparedImages | None, progress: Progress
) -> Photographs | None:
    """The golden photographs with the eager model's answers, and the user's with those of the fp32 file.

    Raises:
        MissingDependency: no runtime here can run the fp32 file.
    """
    samples = sorted(exported.photographs.values())
    if not samples:
        return None
    inputs, outputs = golden.read(folder / golden.FILE)
    ours = Photographs(pick(inputs, samples), pick(outputs, samples))
    if given is None:
        return ours
    progress(Event(Stage.RUN_REFERENCE, total=len(given.inputs)))
    feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {next(iter(inputs)): given.inputs}
    with open_reference(folder, exported) as runtime:
        answers = photographs.run(runtime, feeds)
    return Photographs(
        {name: np.concatenate([array, feeds[name]]) for name, array in ours.inputs.items()},
        {name: np.concatenate([array, answers[name]]) for name, array in ours.outputs.items()},
    )


def open_reference(folder: Path, exported: ExportedFiles, opened: RuntimeOptions | None = None) -> Runtime:
    """The fp32 file in the first runtime of this machine that loads it; `onnx-fp32` where there is one.

    Of a source that is a file of another precision already, it is that file. `opened` says how it is to run.

    Raises:
        MissingDependency: there is none.
    """
    names = sorted(exported.files, key=lambda name: (precision_of(name) != "fp32", name != REFERENCE))
    for name in names:
        for runtime_class in runtimes_for(name.format):
            if runtime_class.opt_in or runtime_class.unavailable_reason() is not None:
                continue
            with contextlib.suppress(BundleError):
                return runtime_class(
                    folder / exported.files[name], exported.signature, opened or RuntimeOptions()
                )
    raise MissingDependency("no fp32 variant can be run here", hint=install_line("cpu"))
