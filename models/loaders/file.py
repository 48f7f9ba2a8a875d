"""Files on disk, told apart by their content: checkpoints, TorchScript, torch.export programs, ONNX."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pinnace.models.errors import MissingDependency, SourceError
from pinnace.models.install import install_line
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, OnnxFile, refuse
from pinnace.models.loaders.file_kinds import kind_of, why_not_a_model
from pinnace.models.loaders.hf_beside import with_what_stands_beside
from pinnace.models.source import Source


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load a file, whatever it is.

    Raises:
        UsageError: an option does not apply to such a file, or `--arch` or `--trust` is missing.
        SourceError: the file is not there, or is damaged, or does not fit the network.
        CheckFailed: its weights are not finite.
        MissingDependency: torch is not installed, and the file needs it.
    """
    path = Path(request.folder) / Path(request.source.name).expanduser()
    if not _is_file(path):
        raise SourceError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    if (foreign := why_not_a_model(path)) is not None:
        raise foreign
    kind = kind_of(path)
    if kind != "checkpoint":
        refuse(request, arch=request.arch, num_classes=request.num_classes, arg=request.arguments)
    if kind == "onnx":
        return with_what_stands_beside(path)
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency(
            f"loading {path} needs torch, which is not installed", hint=install_line("export")
        )
    from pinnace.models.loaders import checkpoint, program, script

    if kind == "torchscript":
        return script.load_script(request, path)
    if kind == "program":
        return program.load_program(request, path)
    return checkpoint.load_checkpoint(request, path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


_ONNX = """\
import onnx
import onnxruntime

path = {path!r}
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
for node in onnx.load(path, load_external_data=False).graph.node:
    trains = [each.name for each in node.attribute if each.name == "training_mode" and each.i]
    if trains or (node.op_type == "Dropout" and len(node.input) > 2):
        print(f"{{node.op_type}} {{node.name}} is in training mode")
random, feeds = numpy.random.default_rng(0), {{}}
for value in session.get_inputs():
    sizes = [
        size if isinstance(size, int) and size > 0 else (2, 3, 224, 224)[axis % 4]
        for axis, size in enumerate(value.shape)
    ]
    kind = {{"tensor(float)": "float32", "tensor(double)": "float64"}}.get(value.type, value.type[7:-1])
    feeds[value.name] = random.uniform(0, 2, sizes).astype(kind)
    if value.shape and isinstance(value.shape[0], int) and value.shape[0] > 0:
        feeds[value.name] = feeds[value.name][: value.shape[0]]
first, again = session.run(None, feeds), session.run(None, feeds)
last = session.run(None, {{name: array[::-1].copy() for name, array in feeds.items()}})
for value, one, two, three in zip(session.get_outputs(), first, again, last):
    print(f"{{value.name}} of shape {{list(one.shape)}}")
    print(f"  finite: {{bool(numpy.isfinite(one).all())}}")
    print(f"  asked twice: off by {{numpy.abs(one - two).max():.3g}}")
    print(f"  in the other order: off by {{numpy.abs(one - three[::-1]).max():.3g}}")
"""


def snippet(request: LoadRequest) -> str:
    """Lines that read the file with torch or ONNX Runtime alone."""
    path = Path(request.folder) / Path(request.source.name).expanduser()
    kind = kind_of(path)
    if kind == "onnx":
        return _ONNX.format(path=str(path))
    if kind == "program":
        return f"model = torch.export.load({str(path)!r}).module()\nmodel.eval = lambda: model\n"
    if kind == "torchscript":
        return f"model = torch.jit.load({str(path)!r})\n"
    from pinnace.models.loaders import checkpoint

    return checkpoint.snippet(request, path)


def _reads(source: Source) -> str | None:
    return source.name


LOADER = Loader(
    kind="file", form="file:PATH", usage="file:PATH", load=load, snippet=snippet, rank=50, reads=_reads
)
