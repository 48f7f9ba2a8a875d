"""`pinnace tune --device`: the bundle and the images go there, and the result and the profile come back."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

from pinnace.cli.console import print_note
from pinnace.cli.remote_install import install_on
from pinnace.cli.tune.options import TuneOptions
from pinnace.latency.remote import run as remote
from pinnace.latency.remote.ssh import Address, Ssh
from pinnace.latency.tuning import saved
from pinnace.latency.tuning.result import TuneResult
from pinnace.models import profile
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import FILE_NAME
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.models.image.find import find_images
from pinnace.models.profile import Profile


def tune_on_device(
    bundle: Bundle, device: str, options: TuneOptions, progress: bool | None
) -> tuple[TuneResult, Profile, str]:
    """Tune a bundle on a device.

    Returns:
        The result, with the bundle's folder here, the profile, and the name of its file.

    Raises:
        UsageError, CheckFailed, MissingDependency, ServerError: as `run`.
    """
    address = Address.parse(device)
    ssh = Ssh(address)
    python = options.device_python
    if options.install:
        extras = ("cpu", "serve") if options.confirm else ("cpu",)  # the finalists are confirmed on a server
        python = install_on(ssh, python, print_note, extras)
    words = _words(options)
    if options.images is not None:
        words += ["--images", remote.send_images(ssh, _images(options.images, options))]
    job = remote.RemoteCommand(
        bundle,
        "tune",
        tuple(words),
        ("report.json", "profile.json"),
        python,
        keeps=True,
    )
    manifest = bundle.manifest
    files = [FILE_NAME, *manifest.files, *(file for each in manifest.variants for file in each.all_files)]

    def read(found: dict[str, bytes]) -> tuple[TuneResult, Profile]:
        if not found["report.json"]:
            raise CheckFailed(f"the tuning on {address} was told to end before its first round was complete")
        result = saved.parse(found["report.json"], f"the report of {address}")
        return result, profile.parse(found["profile.json"], f"the profile of {address}")

    (result, made), _ = remote.run(
        ssh,
        job,
        lambda _: list(dict.fromkeys(files)),
        read,
        print_note,
        progress=sys.stderr.isatty() if progress is None else progress,
    )
    return replace(result, bundle=str(bundle.folder)), made, profile.file_name(address.host)


def _words(options: TuneOptions) -> list[str]:
    values = {
        "--judge-images": options.judge_images,
        "--max-p99": options.max_p99,
        "--max-drop": options.max_drop,
        "--objective": options.objective.value,
        "--budget": options.budget,
        "--seed": options.seed,
    }
    options.budget_s  # noqa: B018 -- refused here rather than there
    several = {"--variant": options.variant or (), "--runtime": options.runtime or ()}
    return [
        *(word for name, value in values.items() for word in (name, str(value))),
        *(word for name, chosen in several.items() for value in chosen for word in (name, value)),
        "--confirm" if options.confirm else "--no-confirm",
    ]


def _images(folder: Path, options: TuneOptions) -> remote.Images:
    """Those that are judged by: where there are more than that, so many are drawn here."""
    files = [Path(name) for name in find_images([folder]).images]
    if not files:
        raise UsageError(f"there are no images in {folder}", expected="JPEG, PNG or other image files")
    if len(files) > options.judge_images:
        print_note(f"{options.judge_images} of the {len(files)} images go there (seed {options.seed})")
        files = random.Random(options.seed).sample(files, options.judge_images)
    return remote.Images(folder, tuple(files))
