"""A folder for KServe: a runtime for the cluster, a service for each bundle, the bundles, the image's recipe.

KServe brings what a `storageUri` names to `/mnt/models`, and asks by the Open Inference Protocol.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from pinnace.models.bundle import signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import FILE_NAME
from pinnace.models.errors import UsageError
from pinnace.models.files import new_folder, sha256, size_of
from pinnace.serving.packaging.bento import choose_variants, copy_bundle
from pinnace.serving.packaging.locks import Device, pinned_requirements, read_lock
from pinnace.serving.packaging.sbom import FILE_NAME as SBOM
from pinnace.serving.packaging.sbom import bill_of_materials
from pinnace.serving.packaging.wheel import write_wheel

RUNTIME_FILE = "cluster-serving-runtime.yaml"
SERVICES_FILE = "inference-services.yaml"


@dataclass(frozen=True)
class KServePackage:
    """What was made.

    Attributes:
        folder: where it stands.
        models: the names of the services, which are those of the models too.
        device: what it is made for.
        variants: names of the variants that it holds.
        bytes: the size of all its files.
    """

    folder: Path
    models: tuple[str, ...]
    device: Device
    variants: tuple[str, ...]
    bytes: int


def build_kserve(
    *bundles: Bundle,
    folder: Path,
    variants: tuple[str, ...] = (),
    device: Device = "cpu",
    name: str | None = None,
    key: Path | None = None,
) -> KServePackage:
    """Write the manifests, the bundles under the names of their services, and what the image is made of.

    Args:
        bundles: each becomes an InferenceService; their hashes are checked.
        folder: where it will stand; an older folder of this kind is replaced.
        variants: what goes in of each, the first is served; by default every ONNX variant.
        device: which ONNX Runtime the image has.
        name: the service's name, where there is one bundle; by default the model's.
        key: a private key that signs the bundles.

    Raises:
        UsageError: a variant is not in a bundle or needs more than ONNX Runtime, two services would have the
            same name, or the name cannot be one.
        CheckFailed: a file of a bundle has changed.
    """
    names = [service_name(bundle.name) for bundle in bundles] if name is None else [_checked(name)]
    if len(names) != len(bundles):
        raise UsageError("--name names one model", got=f"{len(bundles)} bundles")
    if len(set(names)) < len(names):
        raise UsageError(f"two services have the same name: {', '.join(names)}")
    chosen = [choose_variants(bundle, variants) for bundle in bundles]
    runtime = "pinnace" if device == "cpu" else "pinnace-cuda"
    words = {"runtime": runtime, "version": version("pinnace")}
    with new_folder(folder, marker=RUNTIME_FILE) as out:
        gpu = '\n          nvidia.com/gpu: "1"' if device == "cuda" else ""
        (out / RUNTIME_FILE).write_text(_filled("cluster-serving-runtime.yaml", **words, gpu=gpu))
        services = []
        copied = []
        for service, bundle, inside in zip(names, bundles, chosen, strict=True):
            place = out / f"{service}.bundle"
            copy_bundle(bundle, place, inside)
            _rename(place, service)
            if key is not None:
                signing.sign(place, service, key)
            copied.append(Bundle.open(place, check_signature=False))
            services.append(_filled("inference-service.yaml", **words, name=service, folder=place.name))
        (out / SERVICES_FILE).write_text("---\n".join(services))
        image = out / "image"
        (image / "wheels").mkdir(parents=True)
        wheel = write_wheel(image / "wheels")
        (image / "requirements.txt").write_text(pinned_requirements(device, wheel, place="wheels/"))
        pinnace = (words["version"], sha256(wheel))
        (image / SBOM).write_text(bill_of_materials(runtime, pinnace, read_lock(device), copied))
        (image / "Dockerfile").write_text(_filled("Dockerfile", **words))
    held = tuple(dict.fromkeys(variant.name for inside in chosen for variant in inside))
    return KServePackage(folder.absolute(), tuple(names), device, held, size_of(folder))


def service_name(name: str) -> str:
    """A name as Kubernetes takes it for a service: small letters, digits and `-`, a letter first, 48 at most.

    KServe appends `-predictor` to it, and 63 is the limit of a host's name.
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("-0123456789")[:48].strip("-") or "model"


def _checked(name: str) -> str:
    if service_name(name) != name:
        raise UsageError(
            f"a service cannot be named {name}", expected="small letters, digits and -", got=name
        )
    return name


def _rename(folder: Path, name: str) -> None:
    """KServe's clients ask for the model by the name of its service."""
    bundle = Bundle.open(folder, check_signature=False)
    (folder / FILE_NAME).write_bytes(dataclasses.replace(bundle.manifest, name=name).to_json())


def _filled(template: str, **words: str) -> str:
    text = (files("pinnace.serving.packaging") / "kubernetes" / template).read_text(encoding="utf-8")
    return Template(text).substitute(words)
