"""The bundles of a suite, kept in a folder; a bundle of the same recipe is not exported again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pinnace.latency.suites.suite import Suite, SuiteRow
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, PinnaceError
from pinnace.models.files import sha256, write_atomic
from pinnace.models.loaders import all_loaders, parse_source
from pinnace.models.progress import Progress
from pinnace.models.runtimes import runtimes_for
from pinnace.models.runtimes.tensorrt import TensorRt
from pinnace.models.variant_name import VariantName

# Exports the bundle of a row with these variants to this path. Passed in: latency does not import export.
Export = Callable[[SuiteRow, Suite, Sequence[str], Path, Progress], Bundle]

_FOR_ENGINES = "onnx-fp32"


def bundle_of(
    row: SuiteRow, suite: Suite, variants: Sequence[str], folder: Path, export: Export, progress: Progress
) -> Bundle:
    """A row's bundle, from the folder, or exported into it.

    The recipe stands beside the bundle, so a folder that was filled on another machine serves one without
    torch as well.

    Args:
        row: the network.
        suite: its suite.
        variants: what the bundle must hold. Engines are not made here but by `pinnace build`.
        folder: where bundles are kept.
        export: makes what is not there.
        progress: called before each step of an export.

    Raises:
        PinnaceError: it cannot be exported; what `export` raises.
    """
    path = folder / f"{row.name}.bundle"
    recipe_file = folder / f"{row.name}.recipe.json"
    recipe = recipe_of(row, suite)
    wanted = [name for name in variants if not _is_engine(VariantName.parse(name))] or [_FOR_ENGINES]
    if (kept := _kept(path, recipe_file, recipe)) is not None:
        held = [variant.name for variant in kept.manifest.variants if variant.engine is None]
        if set(wanted) <= set(held):
            return kept
        # Keep the other variants, so that alternating between two sets does not export each time.
        wanted = list(dict.fromkeys([*wanted, *held]))
    bundle = export(row, suite, wanted, path, progress)
    write_atomic(recipe_file, json.dumps(recipe, indent=1).encode() + b"\n")
    return bundle


def recipe_of(row: SuiteRow, suite: Suite) -> dict[str, Any]:
    """Everything that a bundle depends on, but its variants."""
    source = parse_source(row.source)
    file = all_loaders()[source.kind].reads(source)
    recipe: dict[str, Any] = {
        "source": row.source,
        "size": None if row.edges is None else list(row.edges),
        "target": suite.target,
    }
    if file is not None:
        path = suite.folder / file
        recipe["sha256"] = sha256(path) if path.is_file() else None
    return recipe


def _is_engine(variant: VariantName) -> bool:
    return any(issubclass(runtime, TensorRt) for runtime in runtimes_for(variant.format))


def _kept(path: Path, recipe_file: Path, recipe: dict[str, Any]) -> Bundle | None:
    try:
        if json.loads(recipe_file.read_bytes()) != recipe:
            return None
        return Bundle.open(path)
    except (OSError, ValueError, BundleError):
        return None


def problem_of(error: BaseException) -> str:
    """What went wrong with a row, in one line."""
    if isinstance(error, PinnaceError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error}".rstrip(": ")
