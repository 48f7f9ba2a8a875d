"""A model repository for NVIDIA's Triton Inference Server.

The layout and the fields are those of
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.outputs import width
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.files import new_folder, size_of
from pinnace.models.uses import output_spec
from pinnace.serving.packaging.bento import safe_name
from pinnace.serving.packaging.locks import Device

MARKER = ".pinnace"  # Triton looks at the folders only
CONFIG = "config.pbtxt"
LABELS = "labels.txt"
MAX_BATCH = 32
QUEUE_MICROSECONDS = 1000

# By format: Triton's backend, and the name that it expects of the file.
_BACKENDS = {"onnx": ("onnxruntime", "model.onnx"), "tensorrt": ("tensorrt", "model.plan")}
_TYPES = {
    **{f"float{bits}": f"TYPE_FP{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
    "bool": "TYPE_BOOL",
}


@dataclass(frozen=True)
class Repository:
    """What was made.

    Attributes:
        folder: where it stands; Triton takes it as `--model-repository`.
        models: the names by which Triton serves the bundles.
        variants: the variant of each.
        bytes: the size of all its files.
    """

    folder: Path
    models: tuple[str, ...]
    variants: tuple[str, ...]
    bytes: int


def build_repository(
    *bundles: Bundle, folder: Path, variant: str | None = None, device: Device = "cpu"
) -> Repository:
    """Write a model repository: for each bundle a folder with `config.pbtxt`, labels and one model file.

    Args:
        bundles: what goes in; the hashes of the model files are checked.
        folder: where it will stand; an older repository of ours is replaced.
        variant: which variant of each, ONNX or a TensorRT engine; by default the first that is ONNX.
        device: where Triton is to run ONNX files; engines run on the GPU.

    Raises:
        UsageError: a variant is not in a bundle, or is nothing that Triton runs; two bundles have the same
            name; `folder` is something else.
        CheckFailed: a model file has changed.
    """
    chosen = [(bundle, _choose(bundle, variant)) for bundle in bundles]
    names = [safe_name(bundle.name) for bundle in bundles]
    if len(set(names)) < len(names):
        raise UsageError(f"two bundles have the same name in Triton: {', '.join(names)}")
    with new_folder(folder, marker=MARKER) as out:
        for name, (bundle, one) in zip(names, chosen, strict=True):
            bundle.check_variant(one)
            (out / name / "1").mkdir(parents=True)
            shutil.copyfile(bundle.path(one.file), out / name / "1" / _BACKENDS[one.format][1])
            if one.weights is not None:  # by the name that the graph has for it
                shutil.copyfile(bundle.path(one.weights), out / name / "1" / Path(one.weights).name)
            (out / name / CONFIG).write_text(model_config(bundle, one, name, device), encoding="utf-8")
            if _labelled_output(bundle) is not None:
                (out / name / LABELS).write_text("\n".join(bundle.labels) + "\n", encoding="utf-8")
            if bundle.manifest.preprocess is not None:
                preprocess = json.dumps(dataclasses.asdict(bundle.manifest.preprocess), indent=2)
                (out / name / "preprocess.json").write_text(preprocess + "\n", encoding="utf-8")
        (out / MARKER).write_text("written by pinnace package --triton\n", encoding="utf-8")
    size = size_of(folder)
    return Repository(folder.absolute(), tuple(names), tuple(one.name for _, one in chosen), size)


def model_config(bundle: Bundle, variant: Variant, name: str, device: Device) -> str:
    """`config.pbtxt` of one model, in protobuf's text format."""
    signature = bundle.manifest.signature
    batched = signature.batch == BATCH
    backend, file = _BACKENDS[variant.format]
    kind = "KIND_GPU" if device == "cuda" or variant.format == "tensorrt" else "KIND_CPU"
    labelled = _labelled_output(bundle)
    parts = [
        f"name: {_quoted(name)}",
        f"backend: {_quoted(backend)}",
        f"default_model_filename: {_quoted(file)}",
        f"max_batch_size: {_max_batch(variant) if batched else 0}",
        *(f"input {_tensor(spec, batched)}" for spec in signature.inputs),
        *(f"output {_tensor(spec, batched, spec.name == labelled)}" for spec in signature.outputs),
        f"instance_group {{ count: 1 kind: {kind} }}",
    ]
    if batched:
        parts.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}")
    return "\n".join(parts) + "\n"


def _labelled_output(bundle: Bundle) -> str | None:
    """The output of which each value has a label; one value that stands for two labels has none."""
    outputs = bundle.outputs
    if not bundle.labels or not outputs.is_classifier:
        return None
    spec = output_spec(bundle.manifest.signature, outputs)
    return spec.name if width(spec) == len(bundle.labels) else None


def _choose(bundle: Bundle, name: str | None) -> Variant:
    if name is None:
        for variant in bundle.manifest.variants:
            if variant.format == "onnx":
                return variant
        raise UsageError(
            f"{bundle.folder} has no ONNX variant", hint="name a TensorRT engine of it with --variant"
        )
    variant = bundle.variant(name)
    if variant.format not in _BACKENDS or (variant.engine and variant.engine.builder != "tensorrt"):
        raise UsageError(
            f"the variant {name} is not packaged for Triton", expected="an ONNX variant or a TensorRT engine"
        )
    return variant


def _max_batch(variant: Variant) -> int:
    return MAX_BATCH if variant.engine is None else variant.engine.batch[1]


def _tensor(spec: TensorSpec, batched: bool, labels: bool = False) -> str:
    shape = spec.shape[1:] if batched else spec.shape
    dims = ", ".join(str(size) if isinstance(size, int) else "-1" for size in shape)
    more = f" label_filename: {_quoted(LABELS)}" if labels else ""
    if spec.dtype not in _TYPES:
        raise UsageError(f"the tensor {spec.name} is {spec.dtype}, which Triton has no type for")
    return f"{{ name: {_quoted(spec.name)} data_type: {_TYPES[spec.dtype]} dims: [ {dims} ]{more} }}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
