"""For a step of an export that fails: a script that shows it with plain torch and onnxruntime."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.export.formats import conversion_of, format_of
from pinnace.export.reproduce import replay
from pinnace.export.request import ExportRequest
from pinnace.export.validation.validator import FAILING
from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import weights_file
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import CheckFailed, PinnaceError, SourceError
from pinnace.models.files import write_atomic
from pinnace.models.loaders import all_loaders
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.runtimes import all_runtimes
from pinnace.models.variant_name import VariantName

_FIRST_LINE = '"""A step of `pinnace export` that failed, without Pinnace.'

# What an export asks a network before it writes anything: twice the same, and one sample alone.
_ASK = """

def answers(*inputs):
    with torch.inference_mode():
        answer = model(*inputs)
    parts = answer.values() if isinstance(answer, dict) else answer
    return [part.double() for part in ([parts] if isinstance(parts, torch.Tensor) else parts)]


first, again = answers(*examples), answers(*examples)
alone = answers(*(each[:1] for each in examples))
for number, (one, two, three) in enumerate(zip(first, again, alone)):
    print(f"output {number} of shape {list(one.shape)}")
    print(f"  finite: {bool(one.isfinite().all())}")
    print(f"  asked twice: off by {(one - two).abs().max():.3g}")
    if one[:1].shape == three.shape:
        print(f"  the first sample alone: off by {(one[:1] - three).abs().max():.3g}")
"""

_CONVERT = """
# The opset that was asked for.
from onnx import version_converter

version_converter.convert_version(onnx.load(path, load_external_data=False), {opset})
"""


def script_path(out: Path) -> Path:
    """Where the script of an export to that folder stands: beside its log."""
    return out.absolute().parent / f"{out.name.removesuffix('.bundle')}.bundle.reproduce.py"


@dataclass
class Script:
    """Follows an export, and writes the script if it fails.

    Attributes:
        path: where the script goes; its data go into the folder of the same name without `.py`.
        request: what is exported.
        signature: inputs and outputs, once they are known.
        original: whose answers the golden outputs are.
    """

    path: Path
    request: ExportRequest
    signature: Signature | None = None
    original: str = "the eager model"
    _step: Event = field(default=Event(Stage.LOAD))

    @property
    def data(self) -> Path:
        """The folder with the files that the script needs."""
        return self.path.with_suffix("")

    def follow(self, progress: Progress) -> Progress:
        """The same progress, of which the step that runs is also remembered."""

        def followed(event: Event) -> None:
            if event.stage in (Stage.WRITE, Stage.COMPARE):
                self._step = event
            progress(event)

        return followed

    @contextmanager
    def written_on_failure(self, folder: Path, log: Path) -> Iterator[None]:
        """Write the script when the block fails in a step of the export, else remove an earlier one.

        A check that failed is such a step, and foreign code that raised something, which is then in the log.

        Args:
            folder: where the export writes its files.
            log: what the child interpreter printed.
        """
        try:
            yield
        except PinnaceError as error:
            if isinstance(error, CheckFailed) or (isinstance(error, SourceError) and log.is_file()):
                self._write(folder, error)
            raise
        self._remove()

    def _remove(self) -> None:
        if self.path.is_file() and self.path.read_text(encoding="utf-8").startswith(_FIRST_LINE):
            self.path.unlink()
            shutil.rmtree(self.data, ignore_errors=True)

    def _write(self, folder: Path, error: PinnaceError) -> None:
        lines = self._lines(folder)
        if lines is None:
            return
        message = str(error).replace("\\", "/").replace('"""', "'''")
        parts = [f'{_FIRST_LINE}\n\n{message}\n"""\n\nfrom pathlib import Path\n\nimport numpy\n', *lines]
        write_atomic(self.path, "\n".join(parts).encode())

    def _lines(self, folder: Path) -> list[str] | None:
        """What shows the step that failed; None where its parts have no lines of their own."""
        if not self._step.variant:
            return [self._load()]
        name = VariantName.parse(self._step.variant)
        if self._step.stage is Stage.COMPARE:
            return self._compare(folder, name)
        conversion = conversion_of(name)
        if conversion is None:
            return [self._load(), format_of(name).snippet(name, self.request.opset)]
        base, suffix = VariantName(name.format, "fp32"), format_of(name).suffix
        self._keep(folder / f"{base}{suffix}", folder / golden.FILE)
        samples = replay.SAMPLES.format(file=Path(golden.FILE).name, reference=self.original)
        return [self._data(), samples, conversion.snippet(f"{base}{suffix}", f"{name}{suffix}")]

    def _compare(self, folder: Path, name: VariantName) -> list[str] | None:
        assert self.signature is not None
        file = folder / f"{name}{format_of(name).suffix}"
        runner = all_runtimes()[self._step.runtime].snippet(file)
        if runner is None:
            return None
        samples = folder / FAILING if (folder / FAILING).is_file() else folder / golden.FILE
        self._keep(file, samples)
        converted = (
            conversion_of(name) is not None and (folder / f"{name.format}-fp32{file.suffix}").is_file()
        )
        reference = "fp32" if converted else self.original
        return [
            self._data(),
            replay.code(runner, self.signature, samples=samples.name, reference=reference),
        ]

    def _data(self) -> str:
        return f"DATA = Path(__file__).parent / {self.data.name!r}\n"

    def _keep(self, *files: Path) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()
        beside = [file.with_name(weights_file(file.name)) for file in files]
        for file in (*files, *(each for each in beside if each.is_file())):
            shutil.copy(file, self.data)

    def _load(self) -> str:
        """The lines that make `model`, and `examples` of two samples, and ask it; an ONNX file is asked."""
        request = self.request
        made = all_loaders()[request.load_request.source.kind].snippet(request.load_request)
        if "model = " not in made:
            return made + ("" if request.opset_origin is None else _CONVERT.format(opset=request.opset))
        specs = request.inputs if self.signature is None else self.signature.inputs
        shapes = [(spec.dtype, [_size(axis, dim) for axis, dim in enumerate(spec.shape)]) for spec in specs]
        examples = "".join(
            f"torch.randn({', '.join(map(str, shape))}), "
            if dtype.startswith("float")
            else f"torch.randint(0, 2, {tuple(shape)}, dtype=torch.{dtype}), "
            for dtype, shape in shapes or [("float32", self._image())]
        )
        return (
            "import torch\n\n"
            + made
            + "model = model.eval()\n"
            + f"torch.manual_seed(0)\nexamples = ({examples.rstrip(' ')})\n"
            + _ASK
        )

    def _image(self) -> list[int]:
        """Two samples of one image, where nothing is known of the input but what was asked for."""
        request, changes = self.request, self.request.changes
        sizes = [
            size for size in (request.input_size, changes.crop, changes.resize) if isinstance(size, tuple)
        ]
        loader = all_loaders()[request.load_request.source.kind]
        return [2, len(changes.color or "RGB"), *next(iter(sizes), loader.size)]


def _size(axis: int, dim: int | str) -> int:
    return dim if isinstance(dim, int) else 32 if axis else 2
