"""The child interpreter of an export: loads foreign code, writes files, and goes away.

Started as `python -I -m pinnace.export.worker.main REQUEST RESULT FOLDER EVENTS_FD`; see
`pinnace.export.worker.spawn`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pinnace.export.formats import format_of
from pinnace.export.formats.base import Graph, Written
from pinnace.export.request import EVENT, FILES, REFERENCE, REQUEST, ExportedFiles, ExportRequest
from pinnace.export.worker import eager_model, float32_noise, module_start
from pinnace.export.worker.float32_noise import Exactness
from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.export.worker.graph_end import graph_ends
from pinnace.export.worker.graph_start import GraphStart
from pinnace.export.worker.inspect_model import InspectedModel, ModelInspection, inspect_model
from pinnace.export.worker.onnx_source import OnnxSource
from pinnace.export.worker.resize_trials import trial
from pinnace.models.bundle import golden
from pinnace.models.bundle.golden import Arrays
from pinnace.models.errors import MissingDependency, PinnaceError, UsageError
from pinnace.models.install import install_line
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, OnnxFile, imagenet_preprocess
from pinnace.models.packages import installed_versions
from pinnace.models.photographs import photographs
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.variant_name import VariantName


def export_files(request: ExportRequest, folder: Path, progress: Progress) -> ExportedFiles:
    """Load the model and write its variants and golden data into `folder`.

    Args:
        request: what to export.
        folder: an existing folder.
        progress: told before each step.

    Raises:
        PinnaceError: whatever the loader, the formats or the model's own answers give reason for.
    """
    progress(Event(Stage.LOAD))
    loaded = load(request.load_request)
    if isinstance(loaded, OnnxFile):
        return _export_onnx(loaded, request, folder, progress)
    return _export_module(loaded, request, folder, progress)


def _export_module(
    loaded: LoadedModel, request: ExportRequest, folder: Path, progress: Progress
) -> ExportedFiles:
    import torch

    progress(Event(Stage.RUN_MODEL))
    hint = "check --input" if request.inputs else "give it another --input-size or --preprocess"
    run = eager_model.told(
        eager_model.model_function(loaded.module, hint=hint),
        lambda words: progress(Event(Stage.RUN_MODEL, detail=words)),
    )
    network = loaded.module

    def keep_rows(feeds: Arrays) -> ModelFunction | None:
        nonlocal network, run
        if (kept := eager_model.keep_rows(network, run, feeds)) is None:
            return None
        network, run = kept, eager_model.model_function(kept, hint=hint)
        return run

    inspection = inspect_model(
        InspectedModel(
            run,
            loaded.inputs,
            loaded.preprocess,
            loaded.exported,
            assumed_for=loaded.assumed_for,
            keep_rows=keep_rows,
            start=None if request.inputs else _start(loaded, request),
        ),
        request,
    )
    eager_model.make_traceable()
    exactness = Exactness((), inspection)
    if not loaded.exported:
        exactness = float32_noise.measure(network, run, inspection, request.fp32_bound)
        inspection = exactness.inspection
    tried = trial(request, run, inspection.signature, inspection.preprocess, loaded.labels)
    example = tuple(map(torch.from_numpy, _example(inspection).values()))
    # Exported graphs give tensors or tuples, so a module with a dict or a single-element tuple is wrapped.
    module = eager_model.flat_module(network)
    if isinstance(loaded.module, torch.jit.ScriptModule):
        # Its control flow survives: tracing a script within a network keeps it as it is.
        module = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    graph = Graph(module, example, inspection.signature, request.opset)
    files: dict[VariantName, str] = {}
    warned: dict[VariantName, tuple[str, ...]] = {}
    exporters: dict[VariantName, str] = {}
    notes = exactness.notes
    tools: dict[str, str] = {}
    for name in request.variants:
        step = Event(Stage.WRITE, str(name))
        progress(step)

        def tell(detail: str, step: Event = step) -> None:
            progress(replace(step, detail=detail))

        format = format_of(name)
        files[name] = f"{name}{format.suffix}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            written = (
                format.write(replace(graph, precision=name.precision, tell=tell), folder / files[name])
                or Written()
            )
        notes += written.notes
        tools |= written.tools
        if written.exporter is not None:
            exporters[name] = written.exporter
        warned[name] = tuple(_trace_warnings(caught))
    result = _finish(inspection, loaded.labels, (*loaded.notes, *notes), folder, files, warned)
    return replace(
        result,
        tools=result.tools | tools,
        classes=eager_model.declared_classes(loaded.module),
        exported=loaded.exported,
        exporters=exporters,
        float32_noise=exactness.noise,
        trial=tried,
    )


def _start(loaded: LoadedModel, request: ExportRequest) -> GraphStart | None:
    """How an image enters a network, where that can be seen."""
    base = request.changes.apply(loaded.preprocess or imagenet_preprocess())
    size = request.input_size or base.crop or base.resize
    start = module_start.read(loaded.module, loaded.inputs, size if isinstance(size, tuple) else (224, 224))
    if start is None or loaded.preprocess is None or start.inside is None or start.inside.takes is not None:
        return start
    # What comes with the network is known, and what it does to that, as Inception of torchvision does
    # (`transform_input`), is its own affair.
    return replace(start, inside=None)


def _example(inspection: ModelInspection) -> Arrays:
    """Inputs to trace with: two samples, because a batch of one is taken for a constant."""
    batch = inspection.signature.batch
    if batch is None:
        return {name: np.asarray(array[0]) for name, array in inspection.inputs.items()}
    count = batch if isinstance(batch, int) else 2
    return {name: array[np.arange(count) % len(array)] for name, array in inspection.inputs.items()}


def _export_onnx(loaded: OnnxFile, request: ExportRequest, folder: Path, progress: Progress) -> ExportedFiles:
    source = OnnxSource(loaded.path, folder, request.output)
    progress(Event(Stage.RUN_MODEL))
    if REFERENCE not in request.variants:
        raise UsageError(
            f"{request.source} is an ONNX file already and is not converted to other formats",
            expected=f"the variant {REFERENCE}",
        )
    left_out = [str(name) for name in request.variants if name != REFERENCE]
    names = ", ".join(left_out)
    notes = (f"an ONNX file is not converted to other formats: {names} was left out",) if left_out else ()
    facts = source.facts()
    labels = facts.labels or loaded.labels
    inspection = inspect_model(
        InspectedModel(
            source.run,
            source.inputs,
            facts.preprocess or loaded.preprocess,
            exported=True,
            start=source.start(),
            batch_ranges=source.batch_ranges,
        ),
        request,
    )
    tried = trial(
        request,
        source.run,
        inspection.signature,
        inspection.preprocess,
        labels,
        fixed=source.fixed_size,
    )
    name = VariantName("onnx", source.precision)
    files = {name: source.keep_up(request)}
    progress(Event(Stage.WRITE, str(name)))
    notes = (*source.notes, *notes, *facts.notes, *loaded.notes)
    written = _finish(inspection, labels, notes, folder, files, {})
    return replace(written, exported=True, activations={name: source.activations}, trial=tried)


def _finish(
    inspection: ModelInspection,
    labels: tuple[str, ...] | None,
    notes: tuple[str, ...],
    folder: Path,
    files: dict[VariantName, str],
    warned: dict[VariantName, tuple[str, ...]],
) -> ExportedFiles:
    golden.write(folder / golden.FILE, inspection.inputs, inspection.outputs)
    named = {}
    for index, photograph in enumerate(photographs()[: inspection.photographs]):
        (folder / "golden" / photograph.name).write_bytes(photograph.read_bytes())
        named[f"golden/{photograph.name}"] = index
    packages = sorted({package for name in files for package in format_of(name).packages})
    tools = {"pinnace": version("pinnace"), "python": sys.version.split()[0]}
    return ExportedFiles(
        signature=inspection.signature,
        preprocess=inspection.preprocess,
        labels=labels,
        files=files,
        photographs=named,
        samples=len(next(iter(inspection.inputs.values()))),
        tools=tools | installed_versions(packages),
        warnings=warned,
        notes=(*notes, *inspection.notes),
        ends=graph_ends(folder, files, inspection.signature),
    )


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
    process = os.getpid()
    tempfile.tempdir = str(Path(request_path).parent)  # it goes away with this interpreter
    logging.getLogger("torch").setLevel(logging.ERROR)
    with os.fdopen(int(events), "w", buffering=1) as stream:

        def tell(event: Event) -> None:
            stream.write(EVENT.dump_json(event).decode() + "\n")

        try:
            request = REQUEST.validate_json(Path(request_path).read_bytes())
            result = FILES.dump_json(export_files(request, Path(folder), tell))
        except PinnaceError as error:
            if error.__cause__ is not None:
                logging.getLogger(__name__).error("%s", error, exc_info=error)
            result = json.dumps({"error": error.to_dict()}).encode()
        except ModuleNotFoundError as error:
            missing = MissingDependency(
                f"exporting needs {error.name}, which is not installed", hint=install_line("export")
            )
            result = json.dumps({"error": missing.to_dict()}).encode()
    if os.getpid() != process:
        os._exit(0)  # the foreign code forked, and this is the copy
    Path(result_path).write_bytes(result)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that the foreign code left behind would keep the interpreter alive


if __name__ == "__main__":
    main()
