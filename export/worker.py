"""The child interpreter of an export: loads foreign code, writes files, and goes away.

Started as `python -I -m pinnace.export.worker REQUEST RESULT FOLDER EVENTS_FD`; see `pinnace.export.child`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export import golden_inputs
from pinnace.export.formats import split
from pinnace.export.formats.base import Graph
from pinnace.export.request import FILES, REQUEST, ExportedFiles, ExportRequest, resize_to
from pinnace.models import golden
from pinnace.models.errors import CheckFailed, MissingDependency, PinnaceError, SourceError, UsageError
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest, imagenet_preprocess
from pinnace.models.preprocess import Preprocess
from pinnace.models.signature import BATCH, Signature, TensorSpec
from pinnace.models.source import Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

Step = Callable[[str], None]


def export_files(request: ExportRequest, folder: Path, step: Step) -> ExportedFiles:
    """Load the model and write its variants and golden data into `folder`.

    Args:
        request: what to export.
        folder: an existing folder.
        step: called with a few words before each step.

    Raises:
        PinnaceError: whatever the loader, the formats or the model's own answers give reason for.
    """
    step(f"loading {request.source}")
    loaded = load(
        LoadRequest(Source.parse(request.source), request.arch, request.num_classes, request.folder)
    )
    import torch

    notes = list(loaded.notes)
    preprocess = _preprocess(request, loaded, notes)
    shape = _input_shape(preprocess)

    step("running the eager model on the golden inputs")
    inputs = golden_inputs.image_inputs(preprocess, shape)
    names, outputs = _eager(loaded.module, torch.from_numpy(inputs))
    signature = _signature(loaded.module, torch.from_numpy(inputs[:2]), shape, names)
    golden.write(folder / golden.FILE, {"input": inputs}, dict(zip(names, outputs, strict=True)))
    photographs = {}
    for index, photograph in enumerate(golden_inputs.photographs()):
        (folder / "golden" / photograph.name).write_bytes(photograph.read_bytes())
        photographs[f"golden/{photograph.name}"] = index

    # Exported graphs give tensors or tuples, so a module with a dict or a single-element tuple is wrapped.
    graph = Graph(_Flat(loaded.module), (torch.from_numpy(inputs[:2]),), signature, request.opset)
    files: dict[str, str] = {}
    warned: dict[str, tuple[str, ...]] = {}
    tools = {"pinnace": version("pinnace"), "python": sys.version.split()[0]}
    for name in request.variants:
        step(f"writing {name}")
        format, _ = split(name)
        files[name] = name + format.suffix
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            format.write(graph, folder / files[name])
        warned[name] = tuple(_trace_warnings(caught))
        tools |= {package: version(package) for package in format.packages}
    return ExportedFiles(
        signature=signature,
        preprocess=preprocess,
        labels=loaded.labels,
        is_classifier=len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 1,
        files=files,
        photographs=photographs,
        samples=len(inputs),
        tools=tools,
        warnings=warned,
        notes=tuple(notes),
    )


def _preprocess(request: ExportRequest, loaded: LoadedModel, notes: list[str]) -> Preprocess:
    preprocess = request.preprocess or loaded.preprocess
    if preprocess is None:
        preprocess = imagenet_preprocess()
        notes.append(
            "the source does not say how images are preprocessed: ImageNet's customary way is assumed"
        )
    return preprocess if request.input_size is None else resize_to(preprocess, request.input_size)


def _input_shape(preprocess: Preprocess) -> tuple[int, ...]:
    size = preprocess.crop or preprocess.resize
    if not isinstance(size, tuple):
        raise UsageError(
            "the preprocessing gives images of no fixed size", hint="give it a crop, or an exact resize"
        )
    return (len(preprocess.mean), *size)


def _ask(module: torch.nn.Module, images: torch.Tensor, hint: str) -> dict[str, torch.Tensor]:
    """The model's answer to some images, by name."""
    import torch

    with torch.inference_mode():
        try:
            return flatten(module(images))
        except PinnaceError:
            raise
        except Exception as error:
            raise SourceError(
                f"the model does not run on an input of shape {list(images.shape)}: "
                f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}",
                hint=hint,
            ) from error


def _eager(module: torch.nn.Module, inputs: torch.Tensor) -> tuple[list[str], list[npt.NDArray[np.generic]]]:
    """The eager outputs, one sample at a time, and their names."""
    import numpy as np
    import torch

    hint = "give it another --input-size or --preprocess"
    rows = [_ask(module, inputs[index : index + 1], hint) for index in range(len(inputs))]
    again = _ask(module, inputs[:1], hint)
    names = list(rows[0])
    for name in names:
        shapes = sorted({tuple(row[name].shape) for row in rows})
        if len(shapes) > 1 or shapes[0][:1] != (1,):
            raise SourceError(
                f"the model's output {name} is not one row for each image",
                expected="[1, ...] for one image",
                got=" and ".join(str(list(shape)) for shape in shapes[:2]),
            )
        if not torch.equal(torch.nan_to_num(rows[0][name]), torch.nan_to_num(again[name])):
            raise CheckFailed(
                "the model gives another answer each time it is asked the same, so no export can be proved",
                hint="switch off what is random in it (dropout that ignores eval mode, noise)",
            )
    outputs = [np.concatenate([row[name].numpy() for row in rows]) for name in names]
    for name, output in zip(names, outputs, strict=True):
        if not np.isfinite(output.astype(np.float64)).all():
            raise CheckFailed(f"the eager model answers with NaN or infinity in {name}")
    return names, outputs


def _signature(
    module: torch.nn.Module, pair: torch.Tensor, shape: tuple[int, ...], names: list[str]
) -> Signature:
    """Inputs and outputs; a dimension that follows the batch is called so."""
    hint = "a model has to take any number of images at once"
    one, two = _ask(module, pair[:1], hint), _ask(module, pair, hint)
    outputs = []
    for name in names:
        have = tuple(two[name].shape)
        if len(have) != one[name].ndim or have[0] != len(pair):
            raise SourceError(
                f"the model's output {name} is not one row for each image",
                expected="[2, ...] for two images",
                got=str(list(have)),
            )
        dims = zip(one[name].shape, have, strict=True)
        outputs.append(
            TensorSpec(
                name,
                str(one[name].dtype).removeprefix("torch."),
                tuple(a if a == b else BATCH for a, b in dims),
            )
        )
    return Signature((TensorSpec("input", "float32", (BATCH, *shape)),), tuple(outputs))


def flatten(result: Any) -> dict[str, torch.Tensor]:
    """A model's result as named tensors: `logits` for one, the keys of a dict, or `output_0`, `output_1`, ...

    Raises:
        SourceError: it holds something that is no tensor.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return {"logits": result}
    if isinstance(result, dict):
        named = {str(name): value for name, value in result.items()}
    elif isinstance(result, tuple | list):
        if len(result) == 1:
            return flatten(result[0])
        named = {f"output_{index}": value for index, value in enumerate(result)}
    else:
        named = {"the result": result}
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"the model answers with something that is no tensor: {name}", got=type(value).__name__
            )
    return named


def _Flat(module: torch.nn.Module) -> torch.nn.Module:
    import torch

    class Flat(torch.nn.Module):
        """Gives a module's result as a tensor or a tuple of tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            values = tuple(flatten(self.module(*inputs)).values())
            return values[0] if len(values) == 1 else values

    return Flat().eval()


def _trace_warnings(caught: list[warnings.WarningMessage]) -> list[str]:
    from torch.jit._trace import TracerWarning

    return [
        f"{Path(warning.filename).name}:{warning.lineno}: {str(warning.message).splitlines()[0]}"
        for warning in caught
        if issubclass(warning.category, TracerWarning)
    ]


def main() -> None:
    """Read the request, write the files, and leave a result or an error behind."""
    request_path, result_path, folder, events = sys.argv[1:]
    logging.getLogger("torch").setLevel(logging.ERROR)
    with os.fdopen(int(events), "w", buffering=1) as stream:

        def step(text: str) -> None:
            stream.write(json.dumps({"step": text}) + "\n")

        try:
            request = REQUEST.validate_json(Path(request_path).read_bytes())
            result = FILES.dump_json(export_files(request, Path(folder), step))
        except PinnaceError as error:
            if error.__cause__ is not None:
                logging.getLogger(__name__).error("%s", error, exc_info=error)
            result = json.dumps({"error": error.to_dict()}).encode()
        except ModuleNotFoundError as error:
            missing = MissingDependency(
                f"exporting needs {error.name}, which is not installed", hint="pip install 'pinnace[export]'"
            )
            result = json.dumps({"error": missing.to_dict()}).encode()
    Path(result_path).write_bytes(result)


if __name__ == "__main__":
    main()
