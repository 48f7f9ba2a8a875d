"""Inspecting a model before it is written: what it takes, what it gives, and its golden data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest
from pinnace.export.worker import golden_inputs, golden_outputs
from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.errors import SourceError, UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders.base import imagenet_preprocess, resize_to
from pinnace.models.photographs import photographs

NO_PREPROCESSING = "the source does not say how images are preprocessed: ImageNet's customary way is assumed"
NOT_ALL = "the source does not say how images are preprocessed: ImageNet's customary {} are assumed"
ONE_AT_A_TIME = "the model takes one image at a time"
OWN_ANSWERS = "there is no network to compare with: the golden outputs are the exported file's own"


@dataclass(frozen=True)
class InspectedModel:
    """A model before it is inspected.

    Attributes:
        run: gives its outputs for inputs.
        inputs: its inputs where they are known; None for one image.
        preprocess: its own preprocessing, where that is known.
        exported: somebody exported it before.
    """

    run: ModelFunction
    inputs: tuple[TensorSpec, ...] | None = None
    preprocess: Preprocess | None = None
    exported: bool = False


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
    changed = request.preprocess is not None or request.changes != Changes() or request.input_size is not None
    if specs is None or (not request.inputs and _takes_an_image(specs)):
        inspection = _inspect_image_model(model, request, specs)
    elif changed:
        raise UsageError(
            "the model takes no image, so a preprocessing or an input size means nothing to it",
            expected="one input such as float32[batch,3,224,224]",
            got=", ".join(map(str, specs)),
        )
    else:
        inspection = _inspect_tensor_model(model, specs)
    own = (OWN_ANSWERS,) if model.exported else ()
    return dataclasses.replace(inspection, notes=(*own, *inspection.notes))


def _takes_an_image(specs: tuple[TensorSpec, ...]) -> bool:
    (spec, *others) = specs
    return not others and spec.dtype == "float32" and len(spec.shape) == 4 and spec.shape[1] in (1, 3)


def _inspect_image_model(
    model: InspectedModel, request: ExportRequest, specs: tuple[TensorSpec, ...] | None
) -> ModelInspection:
    notes: list[str] = []
    preprocess = _preprocess(model, request, specs, notes)
    shape = input_shape(preprocess)
    spec = TensorSpec("input", "float32", (BATCH, *shape)) if specs is None else specs[0]
    if any(isinstance(want, int) and want != have for want, have in zip(spec.shape[1:], shape, strict=True)):
        raise UsageError(
            "the preprocessing does not make what the model takes",
            expected=str(spec),
            got="float32[" + ",".join(map(str, (spec.shape[0], *shape))) + "]",
            hint="give it another --input-size, --crop or --color",
        )
    spec = TensorSpec(spec.name, spec.dtype, (spec.shape[0], *shape))
    images = golden_inputs.image_inputs(preprocess, shape)

    def feeds(sizes: Mapping[str, int], fixed: int = 1) -> Arrays:
        count = sizes.get(BATCH, fixed)
        return {spec.name: images[np.arange(count) % len(images)]}

    signature = _signature(model, spec, feeds, notes)
    samples = golden_outputs.samples_for(signature, len(images))
    inputs: Arrays = {spec.name: images[:samples]}
    outputs = golden_outputs.golden_outputs(model.run, signature, inputs)
    return ModelInspection(signature, preprocess, inputs, outputs, len(photographs()), tuple(notes))


def _signature(
    model: InspectedModel, spec: TensorSpec, feeds: golden_outputs.Feeds, notes: list[str]
) -> Signature:
    fixed = spec.shape[0]
    if isinstance(fixed, int):

        def repeated(sizes: Mapping[str, int]) -> Arrays:
            return feeds({BATCH: fixed})

        notes.append(ONE_AT_A_TIME if fixed == 1 else f"the model takes exactly {fixed} images at once")
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
    outputs = golden_outputs.golden_outputs(model.run, signature, inputs)
    sizes = sorted({dim for spec in specs for dim in spec.shape if isinstance(dim, str) and dim != BATCH})
    notes = [f"the dimension {name} was proved at {golden_outputs.SIZES[0]} only" for name in sizes]
    return ModelInspection(signature, None, inputs, outputs, 0, tuple(notes))


def _preprocess(
    model: InspectedModel, request: ExportRequest, specs: tuple[TensorSpec, ...] | None, notes: list[str]
) -> Preprocess:
    preprocess = request.preprocess or model.preprocess
    if preprocess is None:
        preprocess = _customary(specs)
        if left := request.changes.left:
            whole = len(left) == len(Changes().left)
            notes.append(NO_PREPROCESSING if whole else NOT_ALL.format(" and ".join(left)))
    preprocess = request.changes.apply(preprocess)
    return preprocess if request.input_size is None else resize_to(preprocess, request.input_size)


def _customary(specs: tuple[TensorSpec, ...] | None) -> Preprocess:
    """ImageNet's preprocessing, for the size and the channels that a model is known to take."""
    preprocess = imagenet_preprocess()
    if specs is None:
        return preprocess
    _, channels, height, width = specs[0].shape
    if isinstance(height, int) and isinstance(width, int):
        preprocess = resize_to(preprocess, (height, width))
    return Changes(color="L").apply(preprocess) if channels == 1 else preprocess


def input_shape(preprocess: Preprocess) -> tuple[int, ...]:
    """Channels, height and width of what a preprocessing makes.

    Raises:
        UsageError: it makes images of no fixed size.
    """
    size = preprocess.crop or preprocess.resize
    if not isinstance(size, tuple):
        raise UsageError(
            "the preprocessing gives images of no fixed size", hint="give it a crop, or an exact resize"
        )
    return (len(preprocess.mean), *size)
