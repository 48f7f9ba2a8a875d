"""Inspecting a model before it is written: what it takes, what it gives, and its golden data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest
from pinnace.export.worker import golden_inputs, golden_outputs, image_input
from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.export.worker.graph_start import GraphStart
from pinnace.export.worker.training_mode import require_independent
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.errors import SourceError, UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.photographs import photographs

ONE_AT_A_TIME = "the model takes one image at a time"
FIXED_BATCH = (
    "the model takes exactly {} images at once: fewer are filled up with copies, and more are run in pieces"
)
KEPT_ROW = "the network drops the first dimension of its answer to one image; in the bundle it keeps it"
OWN_ANSWERS = "there is no network to compare with: the golden outputs are the exported file's own"


@dataclass(frozen=True)
class InspectedModel:
    """A model before it is inspected.

    Attributes:
        run: gives its outputs for inputs.
        inputs: its inputs where they are known; None for one image.
        preprocess: its own preprocessing, where that is known.
        exported: somebody exported it before.
        assumed_for: whose preprocessing that is, where the source itself does not say it.
        start: how an image enters its graph, where that is known.
        batch_ranges: its 8-bit numbers have the range of a whole batch, so that images affect one another.
        keep_rows: makes it keep the first dimension of its answer to one image, where that is all it lacks.
    """

    run: ModelFunction
    inputs: tuple[TensorSpec, ...] | None = None
    preprocess: Preprocess | None = None
    exported: bool = False
    assumed_for: str | None = None
    start: GraphStart | None = None
    batch_ranges: bool = False
    keep_rows: Callable[[Arrays], ModelFunction | None] | None = None


@dataclass(frozen=True)
class ModelInspection:
    """What was learnt of a model.

    Attributes:
        signature: its inputs and outputs.
        preprocess: the image preprocessing, or None where it takes no image.
        inputs: golden inputs by name; first dimension the sample.
        outputs: its own outputs for them.
        photographs: how many samples, from the first on, are the package's photographs.
        notes: sentences for the user.
    """

    signature: Signature
    preprocess: Preprocess | None
    inputs: Arrays
    outputs: Arrays
    photographs: int
    notes: tuple[str, ...] = field(default=())


def inspect_model(model: InspectedModel, request: ExportRequest) -> ModelInspection:
    """Find out what a model takes and gives, and make its golden data.

    Raises:
        UsageError: the request does not fit the model.
        SourceError: the model does not run.
        CheckFailed: its answers are NaN, infinite, or never the same.
    """
    if request.inputs and model.inputs is not None and model.exported:
        raise UsageError(
            f"--input does not apply to {request.source}: the file says what it takes",
            expected=", ".join(map(str, model.inputs)),
        )
    specs = request.inputs or model.inputs
    changed = request.changes != Changes() or request.input_size is not None
    if specs is None or (not request.inputs and image_input.takes_an_image(specs, model.start)):
        inspection = _inspect_image_model(model, request, specs)
    elif changed:
        raise UsageError(
            "the model takes no image that a bundle can prepare, so a preprocessing or an input size means "
            "nothing to it",
            expected="one input such as float32[batch,3,224,224]: a batch of images of 1 or 3 channels",
            got=", ".join(map(str, specs)),
            hint="write the network with such an input; without these options it becomes a bundle for "
            "`pinnace verify` and `pinnace bench`",
        )
    else:
        inspection = _inspect_tensor_model(model, specs)
    own = (OWN_ANSWERS,) if model.exported else ()
    return dataclasses.replace(inspection, notes=(*own, *inspection.notes))


def _inspect_image_model(
    model: InspectedModel, request: ExportRequest, specs: tuple[TensorSpec, ...] | None
) -> ModelInspection:
    known = image_input.spec_of(model.start) if specs is None else specs[0]
    preprocess, said = image_input.decide(model.preprocess, model.assumed_for, request, known, model.start)
    notes = list(said)
    if specs is None and model.start is not None and model.start.channels != preprocess.channels:
        known = None  # it is asked with what was said, and its own error says what it takes
    size = image_input.size_of(preprocess)
    shape = preprocess.arranged(*size)
    spec = known or TensorSpec("input", "float32", (BATCH, *shape))
    if any(isinstance(want, int) and want != have for want, have in zip(spec.shape[1:], shape, strict=True)):
        raise UsageError(
            "the preprocessing does not make what the model takes",
            expected=str(spec),
            got=f"{preprocess.dtype}[" + ",".join(map(str, (spec.shape[0], *shape))) + "]",
            hint="give it another --input-size, --crop or --color",
        )
    spec = TensorSpec(spec.name, spec.dtype, (spec.shape[0], *shape))
    images = golden_inputs.image_inputs(preprocess, size)

    def feeds(sizes: Mapping[str, int], fixed: int = 1) -> Arrays:
        count = sizes.get(BATCH, fixed)
        return {spec.name: images[np.arange(count) % len(images)]}

    try:
        signature = _signature(model, spec, feeds, notes)
    except SourceError:
        kept = None if model.keep_rows is None else model.keep_rows(feeds({BATCH: 1}))
        if kept is None:
            raise
        model = dataclasses.replace(model, run=kept)
        signature = _signature(model, spec, feeds, notes)
        notes.append(KEPT_ROW)
    samples = golden_outputs.samples_for(signature, len(images))
    inputs: Arrays = {spec.name: images[:samples]}
    outputs = golden_outputs.golden_outputs(model.run, signature, inputs, exported=model.exported)
    if not model.batch_ranges:
        require_independent(model.run, signature, inputs, outputs, exported=model.exported)
    return ModelInspection(signature, preprocess, inputs, outputs, len(photographs()), tuple(notes))


def _signature(
    model: InspectedModel, spec: TensorSpec, feeds: golden_outputs.Feeds, notes: list[str]
) -> Signature:
    fixed = spec.shape[0]
    if isinstance(fixed, int):

        def repeated(sizes: Mapping[str, int]) -> Arrays:
            return feeds({BATCH: fixed})

        notes.append(ONE_AT_A_TIME if fixed == 1 else FIXED_BATCH.format(fixed))
        return golden_outputs.signature_of(model.run, (spec,), repeated, images=True)
    try:
        return golden_outputs.signature_of(model.run, (spec,), feeds, images=True)
    except SourceError:
        if not model.exported:
            raise
        # What others exported often has the batch frozen in it, and says so nowhere.
        one = dataclasses.replace(spec, shape=(1, *spec.shape[1:]))
        signature = golden_outputs.signature_of(model.run, (one,), feeds, images=True)
        notes.append(ONE_AT_A_TIME)
        return signature


def _inspect_tensor_model(model: InspectedModel, specs: tuple[TensorSpec, ...]) -> ModelInspection:
    signature = golden_outputs.signature_of(
        model.run, specs, lambda sizes: golden_inputs.tensor_inputs(specs, sizes), images=False
    )
    inputs = golden_inputs.tensor_samples(signature)
    outputs = golden_outputs.golden_outputs(model.run, signature, inputs, exported=model.exported)
    sizes = sorted({dim for spec in specs for dim in spec.shape if isinstance(dim, str) and dim != BATCH})
    notes = [f"the dimension {name} was proved at {golden_outputs.SIZES[0]} only" for name in sizes]
    return ModelInspection(signature, None, inputs, outputs, 0, tuple(notes))
