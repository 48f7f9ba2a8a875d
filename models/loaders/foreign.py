"""What running somebody else's code takes: their folder first on the path, their errors in one line."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from pinnace.models.errors import MissingDependency, PinnaceError, SourceError, UsageError
from pinnace.models.install import install_packages

OURS = "pinnace"
_LONGEST = 500

# Packages that networks are built from. Where a pickle needs one of them, it is that package which is
# missing, and not a module of the user's.
PACKAGES = frozenset(
    (
        *("cv2", "efficientnet_pytorch", "fastai", "fastcore", "kornia", "lightning", "lightning_fabric"),
        *("mmcls", "mmcv", "mmengine", "mmpretrain", "monai", "omegaconf", "open_clip", "pl_bolts"),
        *("pretrainedmodels", "pytorch_lightning", "segmentation_models_pytorch", "sklearn", "skimage"),
        *("timm", "torchmetrics", "torchvision", "transformers", "ultralytics", "yacs", "yaml"),
    )
)

# Packages whose name on the index is not the name they are imported by.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "efficientnet_pytorch": "efficientnet-pytorch",
    "mmcls": "mmpretrain",
    "open_clip": "open-clip-torch",
    "pl_bolts": "lightning-bolts",
    "pytorch_lightning": "pytorch-lightning",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def parse_arguments(texts: Sequence[str]) -> dict[str, object]:
    """Read `name=value` texts: a value is a Python literal, or else the string itself.

    Raises:
        UsageError: a text has another form, or a name comes twice.
    """
    arguments: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--arg {text!r} is not an argument", expected="name=value, such as width=0.5")
        if name in arguments:
            raise UsageError(f"--arg {name} is given twice")
        arguments[name] = _literal(value)
    return arguments


def _literal(text: str) -> object:
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value


@contextlib.contextmanager
def imports_from(folder: Path) -> Iterator[None]:
    """Let imports look into a folder first; afterwards last.

    While the foreign code is being imported its `utils` must win. Later, what the exporters import on the
    way must not be found in the folder, and what the network imports when it runs still must. A package of
    theirs that has our own name is theirs while they import.
    """
    entry = str(folder)
    if entry in sys.path:
        sys.path.remove(entry)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    namesake = (folder / OURS / "__init__.py").is_file() or (folder / f"{OURS}.py").is_file()
    ours = _take_away(OURS) if namesake else {}
    try:
        yield
    finally:
        if namesake:
            _take_away(OURS)
            sys.modules.update(ours)
            # Namespace packages have the file None, over which `inspect` stumbles once it has seen another.
            vars(sys.modules.get(OURS, ModuleType(OURS))).pop("__file__", None)
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)
        sys.path.append(entry)


def _take_away(package: str) -> dict[str, ModuleType]:
    """Forget a package and all below it, and return what was forgotten."""
    names = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
    return {name: sys.modules.pop(name) for name in names}


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Change the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def in_one_sentence(what: str, folder: Path) -> Iterator[None]:
    """Turn whatever foreign code raises into our errors.

    Args:
        what: what runs, as `hub:./nets#tiny: importing hubconf.py`.
        folder: where the code stands; modules that are missing there are its own fault, others a package's.

    Raises:
        MissingDependency: it needs a package.
        SourceError: it fails.
    """
    try:
        yield
    except PinnaceError:
        raise
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if not top or (folder / top).exists() or (folder / f"{top}.py").exists():
            raise SourceError(f"{what} fails: {describe(error)}") from error
        raise missing_packages(what, [top]) from error
    except Exception as error:
        raise SourceError(f"{what} fails: {describe(error)}") from error


def missing_packages(what: str, names: Sequence[str]) -> MissingDependency:
    """The error for packages that are not installed, by the names they are imported by."""
    needed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    distributions = [_DISTRIBUTIONS.get(name, name) for name in names]
    noun = "the packages" if len(names) > 1 else "the package"
    return MissingDependency(
        f"{what} needs {noun} {needed}, which {'are' if len(names) > 1 else 'is'} not installed",
        hint=install_packages(*distributions),
    )


def describe(error: BaseException) -> str:
    """An exception in one line: its class, and the first line of what it says."""
    try:
        text = str(error).strip()
    except Exception:  # a __str__ of theirs
        text = ""
    if not text:
        return type(error).__name__
    line = text.splitlines()[0].encode(errors="backslashreplace").decode()
    return f"{type(error).__name__}: {line if len(line) <= _LONGEST else line[:_LONGEST] + ' ...'}"


def untrusted(what: str) -> UsageError:
    """The error for code that would have to run and is not trusted."""
    return UsageError(
        f"{what}, and nothing of it was run",
        hint="if you trust its author, add --trust: the code then runs with all your rights",
    )
