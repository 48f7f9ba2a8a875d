"""A bento of a bundle: a folder with wheel, model and settings, for a machine with no checkout."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path

from pinnace.models import profile
from pinnace.models.bundle import signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import FILE_NAME, Variant
from pinnace.models.errors import MissingDependency, PinnaceError, UsageError
from pinnace.models.files import new_folder, sha256, size_of
from pinnace.models.install import install_line
from pinnace.serving.bentoml.private_names import SERVICE
from pinnace.serving.packaging.locks import EXTRAS, Device, pinned_requirements, read_lock, runtime_extras
from pinnace.serving.packaging.sbom import FILE_NAME as SBOM
from pinnace.serving.packaging.sbom import bill_of_materials
from pinnace.serving.packaging.wheel import write_wheel
from pinnace.serving.settings import CONFIG_FILE, PREFIX

MARKER = "bento.yaml"


@dataclass(frozen=True)
class Bento:
    """What was made.

    Attributes:
        folder: where it stands.
        tag: BentoML's name and version of it.
        device: what it is made for.
        variants: names of the variants that it holds.
        bytes: the size of all its files.
        profiles: what `pinnace tune` found best of them; each is used on the machine that it was found on.
    """

    folder: Path
    tag: str
    device: Device
    variants: tuple[str, ...]
    bytes: int
    profiles: tuple[str, ...] = ()


def build_bento(
    *bundles: Bundle,
    folder: Path,
    variants: tuple[str, ...] = (),
    device: Device = "cpu",
    key: Path | None = None,
    name: str | None = None,
) -> Bento:
    """Write a bento of bundles; nothing is downloaded.

    Args:
        bundles: what it will serve, the default model first; their hashes are checked.
        folder: where the bento will stand; an older bento there is replaced.
        variants: what goes in of each, the first is served; by default every ONNX variant.
        device: which ONNX Runtime it will ask for.
        key: a private key that signs the bundles in it; without one they are not signed, for a signature is
            of all files and of the manifest, and those of a bento have other ones.

    Raises:
        UsageError: the key cannot be used; a variant is not in a bundle, or needs more than ONNX Runtime; two
            bundles have the same name; `folder` is something else.
        CheckFailed: a file of the bundle has changed.
        MissingDependency: BentoML is not installed.
    """
    if importlib.util.find_spec("bentoml") is None:
        raise MissingDependency("packaging needs bentoml, which is not installed", hint=install_line("serve"))
    chosen = {place: choose_variants(bundle, variants) for place, bundle in _by_folder(bundles).items()}
    names = tuple(dict.fromkeys(variant.name for inside in chosen.values() for variant in inside))
    title = safe_name(name or bundles[0].name)
    if name is not None and title != name:
        raise UsageError(f"BentoML cannot take the name {name}", expected=f"such as {title}", got=name)
    with (
        new_folder(folder, marker=MARKER) as out,
        tempfile.TemporaryDirectory(prefix="pinnace-bento-") as work,
    ):
        context = Path(work) / "context"
        (context / "wheels").mkdir(parents=True)
        wheel = write_wheel(context / "wheels")
        for bundle, (place, inside) in zip(bundles, chosen.items(), strict=True):
            copy_bundle(bundle, context / place, inside)
        copied = [Bundle.open(context / place, check_signature=False) for place in chosen]
        if key is not None:
            for one in copied:
                signing.sign(one.folder, one.name, key)
        tuned = [each.configuration for one in copied for _, each in profile.of_bundle(one)]
        runtimes = [each.runtime for each in tuned]
        packages = requirements(device, runtimes)
        more = [line for line in packages if line not in requirements(device)]
        settings = f"bundle = {json.dumps(list(chosen))}\ndevice = {json.dumps(device)}\n"
        (context / CONFIG_FILE).write_text(settings, encoding="utf-8")
        bentofile = {
            "service": SERVICE,
            "name": title,
            "description": f"Classifies images: {', '.join(b.name for b in bundles)} ({', '.join(names)}).",
            "labels": {"project": "pinnace", "device": device},
            "include": ["wheels/*.whl", *(f"{place}/**" for place in chosen), CONFIG_FILE],
            "python": {
                "packages": [f"./wheels/{wheel.name}", *packages],
                "lock_packages": False,  # locking asks the index
            },
        }
        # JSON is YAML.
        (context / "bentofile.yaml").write_text(json.dumps(bentofile, indent=2), encoding="utf-8")
        built = _run_bentoml(context, Path(work) / "home")
        shutil.copytree(built, out, dirs_exist_ok=True)
        # BentoML writes the ranges that it was told.
        pinned = pinned_requirements(device, wheel, more, place="wheels/")
        (out / "env" / "python" / "requirements.txt").write_text(pinned, encoding="utf-8")
        pinnace = (version("pinnace"), sha256(wheel))
        bill = bill_of_materials(title, pinnace, read_lock(device), copied)
        (out / SBOM).write_text(bill, encoding="utf-8")
        tag = f"{built.parent.name}:{built.name}"
    size = size_of(folder)
    return Bento(folder.absolute(), tag, device, names, size, tuple(map(str, tuned)))


def _by_folder(bundles: tuple[Bundle, ...]) -> dict[str, Bundle]:
    """The bundles by the names of their folders in the bento, which differ where their own names do."""
    found: dict[str, Bundle] = {}
    for bundle in bundles:
        if any(bundle.name == other.name for other in found.values()):
            raise UsageError(
                f"two bundles have the same name: {bundle.name}",
                hint="requests could not tell them apart; package them in two bentos",
            )
        name = safe_name(bundle.name)
        found[f"{name}.bundle" if f"{name}.bundle" not in found else f"{name}-{len(found)}.bundle"] = bundle
    return found


def choose_variants(bundle: Bundle, names: tuple[str, ...]) -> tuple[Variant, ...]:
    """The variants by name, or all that are ONNX.

    Raises:
        UsageError: one is not in the bundle or is not an ONNX file, or the bundle has no ONNX file.
    """
    chosen = tuple(bundle.variant(name) for name in dict.fromkeys(names))
    for variant in chosen:
        if variant.format != "onnx":
            raise UsageError(
                f"the variant {variant.name} needs more than ONNX Runtime, so it cannot be packaged",
                expected="an ONNX variant",
                hint="engines are built where they run; torch would make the package several GB",
            )
    chosen = chosen or tuple(v for v in bundle.manifest.variants if v.format == "onnx")
    if not chosen:
        raise UsageError(
            f"{bundle.folder} has no ONNX variant", hint="export the model again with --format onnx"
        )
    return chosen


def copy_bundle(bundle: Bundle, folder: Path, variants: tuple[Variant, ...]) -> None:
    """Copy a bundle with these of its variants only, and check the hash of each file.

    Raises:
        BundleError: a file is missing.
        CheckFailed: a file has changed.
    """
    left_out = {v.weights for v in bundle.manifest.variants} - {v.weights for v in variants}
    files = {name: digest for name, digest in bundle.manifest.files.items() if name not in left_out}
    for name in (*(variant.file for variant in variants), *files):
        bundle.check_file(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path(name), folder / name)
    manifest = dataclasses.replace(bundle.manifest, variants=variants, files=files)
    (folder / FILE_NAME).write_bytes(manifest.to_json())
    profile.copy(bundle, Bundle.open(folder, check_signature=False))


def requirements(device: Device, runtimes: Sequence[str] = ()) -> list[str]:
    """What Pinnace says that the extras of a flavour need, with the markers that are not about extras.

    Args:
        device: the flavour.
        runtimes: those that profiles name, whose extras are needed as well.
    """
    extras = {*EXTRAS[device], *runtime_extras(runtimes)}
    found = []
    for line in requires("pinnace") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"""extra == ['"](\w+)['"]""", marker)
        if extra and extra[1] in extras:
            rest = re.sub(r"""\s*(and\s+)?extra == ['"]\w+['"]""", "", marker).strip().strip("()")
            found.append(requirement.strip() + (f"; {rest}" if rest else ""))
    return list(dict.fromkeys(found))


def safe_name(name: str) -> str:
    """A name as BentoML takes it: small letters, digits, `_`, `-` and `.`, 63 at most."""
    return re.sub(r"[^a-z0-9_.-]+", "_", name.lower()).strip("_.-")[:63].rstrip("_.-") or "model"


def _run_bentoml(context: Path, home: Path) -> Path:
    """Build what `bentofile.yaml` in a folder says, in a store of its own; the bento's folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "BENTOML_"))}
    env |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build"],
        cwd=context,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    built = [path.parent for path in home.glob(f"bentos/*/*/{MARKER}")]
    if done.returncode or len(built) != 1:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it said nothing"]
        raise PinnaceError(f"bentoml build failed: {lines[-1]}", hint="bentoml build says more in a checkout")
    return built[0]
