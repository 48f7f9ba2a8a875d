"""Models of Hugging Face: a folder as `save_pretrained` writes it, or a repository of the hub."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import MissingDependency, SourceError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.install import install_line
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, name_and_ref, refuse
from pinnace.models.loaders.file_kinds import why_not_a_model
from pinnace.models.loaders.foreign import describe, untrusted
from pinnace.models.loaders.image_processor import CLOSE, distance, translate
from pinnace.models.loaders.paths import CONFIG
from pinnace.models.source import Source

if TYPE_CHECKING:
    import torch

_PROCESSOR = "preprocessor_config.json"
_FILES = [CONFIG, _PROCESSOR, "*.safetensors", "*.safetensors.index.json"]
_CLASSIFIES = ("ForImageClassification", "ForImageClassificationWithTeacher")
DEFAULT_LABEL = "LABEL_"


def load(request: LoadRequest) -> LoadedModel:
    """Load a classifier, or a network without a head as an embedding.

    Raises:
        UsageError: an option does not apply, or code would have to run that is not trusted.
        SourceError: the folder or repository is not there, cannot be reached, or holds another kind of model.
        MissingDependency: transformers is not installed.
    """
    refuse(request, arch=request.arch, num_classes=request.num_classes, arg=request.arguments)
    folder = _folder(request)
    config = read_json(folder / CONFIG)
    if config is None:
        raise SourceError(f"{folder} holds no {CONFIG}", expected="a folder as save_pretrained writes it")
    if "model_type" not in config and "architecture" in config:
        from pinnace.models.loaders import timm

        return timm.load_folder(folder)
    if config.get("auto_map") and not request.trust:
        raise untrusted(f"{request.source} brings Python code of its own")
    for weights in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
        if (foreign := why_not_a_model(weights)) is not None:
            raise foreign
    transformers = _transformers()
    model, notes = _model(transformers, folder, config, request)
    preprocess, said = read_preprocess(folder)
    module = _module(model, config)
    return LoadedModel(module, preprocess, _labels(model.config), (*notes, *said))


def _folder(request: LoadRequest) -> Path:
    source = request.source
    folder = Path(request.folder) / Path(source.name).expanduser()
    if folder.is_dir():
        return folder.absolute()
    if source.name.startswith((".", "/", "~")) or source.name.count("/") != 1:
        raise SourceError(f"there is no folder {folder.absolute()}")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise _missing("huggingface_hub") from None
    try:
        return Path(snapshot_download(source.name, revision=source.ref, allow_patterns=_FILES))
    except Exception as error:  # huggingface_hub and httpx each raise classes of their own
        raise SourceError(
            f"{source} cannot be downloaded: {describe(error)}",
            hint=f"download it where there is a network (hf download {source.name} --local-dir FOLDER), "
            "and use hf:./FOLDER",
        ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """What a file of JSON holds; None where there is no such file.

    Raises:
        SourceError: it is no JSON.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is no JSON: {error}") from None
    return data if isinstance(data, dict) else {}


def _transformers() -> Any:
    try:
        transformers: Any = importlib.import_module("transformers")
    except ModuleNotFoundError:
        raise _missing("transformers") from None
    transformers.logging.set_verbosity_error()
    return transformers


def _missing(package: str) -> MissingDependency:
    return MissingDependency(
        f"models of Hugging Face need the package {package}, which is not installed",
        hint=install_line("hf"),
    )


def _model(
    transformers: Any, folder: Path, config: dict[str, Any], request: LoadRequest
) -> tuple[Any, list[str]]:
    """The network with its weights, and sentences on weights that were missing or left out."""
    import torch

    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    if "For" in name and not name.endswith(_CLASSIFIES):
        raise SourceError(
            f"{request.source} is a {name}, which neither classifies images nor is a network without a head",
            expected="a model for image classification, or one such as ViTModel or Dinov2Model",
        )
    automatic = "AutoModelForImageClassification" if name.endswith(_CLASSIFIES) else "AutoModel"
    kind = getattr(transformers, name, None) or getattr(transformers, automatic)
    options: dict[str, Any] = {"trust_remote_code": True} if config.get("auto_map") else {}
    if options:
        kind = getattr(transformers, automatic)
    safe = any(folder.glob("*.safetensors"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, info = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                output_loading_info=True,
                use_safetensors=safe,
                dtype=torch.float32,
                **options,
            )
    except Exception as error:  # whatever a damaged folder leads to
        raise SourceError(f"{request.source} cannot be loaded by transformers: {describe(error)}") from error
    missing = sorted(map(str, info.get("missing_keys", ())))
    if name.endswith(_CLASSIFIES) and missing:
        raise SourceError(
            f"{request.source} lacks {len(missing)} weights of a {name}: " + ", ".join(missing[:5]),
            hint="save it again with save_pretrained, after it was trained",
        )
    if any(part in key for key in missing for part in ("pooler.", "pooler_")):
        model.pooler = None
    unexpected = sorted(map(str, info.get("unexpected_keys", ())))
    notes = (
        [f"left out of the weights: {len(unexpected)} ({', '.join(unexpected[:5])})"] if unexpected else []
    )
    return model, notes


def _module(model: Any, config: dict[str, Any]) -> torch.nn.Module:
    """The network with an image in and one tensor out."""
    import torch

    several = config.get("problem_type") == "multi_label_classification"

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.num_classes = int(model.config.num_labels)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(pixel_values=pixel_values).logits
            return logits.sigmoid() if several else logits

    class Embedder(torch.nn.Module):
        num_classes = 0

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            answer = self.model(pixel_values=pixel_values)
            pooled: torch.Tensor | None = getattr(answer, "pooler_output", None)
            if pooled is None:
                states: torch.Tensor = answer.last_hidden_state
                pooled = states[:, 0] if states.ndim == 3 else states.mean((2, 3))
            return pooled.flatten(1)

    return Classifier() if type(model).__name__.endswith(_CLASSIFIES) else Embedder()


def _labels(config: Any) -> tuple[str, ...] | None:
    names = {int(index): str(name) for index, name in (getattr(config, "id2label", None) or {}).items()}
    if sorted(names) != list(range(len(names))) or all(
        name == f"{DEFAULT_LABEL}{index}" for index, name in names.items()
    ):
        return None
    return tuple(names[index] for index in range(len(names)))


def read_preprocess(folder: Path) -> tuple[Preprocess | None, list[str]]:
    """The steps of a folder's processor as ours, and a sentence on how far the two are apart.

    Raises:
        MissingDependency: transformers is not installed.
    """
    transformers = _transformers()
    if not (folder / _PROCESSOR).is_file():
        return None, []
    try:
        pillow = transformers.AutoImageProcessor.from_pretrained(str(folder), backend="pil")
    except Exception as error:
        return None, [f"its image processor cannot be loaded: {describe(error)}"]
    name = type(pillow).__name__
    preprocess = translate(pillow)
    if preprocess is None:
        return None, [f"{name} prepares images in a way that a bundle cannot: its resize has two bounds"]
    try:
        off = distance(pillow, preprocess)
    except Exception as error:
        return preprocess, [f"the preprocessing could not be compared with {name}: {describe(error)}"]
    if off > CLOSE * max(1.0, 1 / min(map(abs, preprocess.std))):
        said = "in size" if off == float("inf") else f"by up to {off:.3g}"
        return preprocess, [f"the preprocessing differs from that of {name} {said} on photographs"]
    within = f"within {off:.1g}" if off else "to the bit"
    equal = f"the preprocessing is that of {name}: equal {within} on photographs"
    return preprocess, [equal, *_default_note(transformers, folder, preprocess)]


def _default_note(transformers: Any, folder: Path, preprocess: Preprocess) -> list[str]:
    """How far transformers' default is from Pillow's: it resizes tensors where torchvision is installed."""
    try:
        default = transformers.AutoImageProcessor.from_pretrained(str(folder))
        off = distance(default, preprocess)
    except Exception:
        return []
    if off <= CLOSE * max(1.0, 1 / min(map(abs, preprocess.std))):
        return []
    return [
        f"{type(default).__name__}, which transformers takes where torchvision is installed, resizes tensors "
        f"and differs from it by up to {off:.2g}"
    ]


def snippet(request: LoadRequest) -> str:
    """Lines that load the network with transformers alone."""
    folder = Path(request.folder) / Path(request.source.name).expanduser()
    name = str(folder.absolute()) if folder.is_dir() else request.source.name
    return (
        "from transformers import AutoModelForImageClassification\n\n"
        f"network = AutoModelForImageClassification.from_pretrained({name!r}).eval()\n\n\n"
        "class Model(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.network = network\n\n"
        "    def forward(self, x):\n        return self.network(pixel_values=x).logits\n\n\n"
        "model = Model()\n"
    )


def _reads(source: Source) -> str | None:
    return source.name if source.name.startswith((".", "/", "~")) else None


LOADER = Loader(
    kind="hf",
    form="hf:./folder or hf:owner/name[@REVISION]",
    usage="hf:FOLDER",
    load=load,
    snippet=snippet,
    parse=name_and_ref,
    rank=45,
    reads=_reads,
)
