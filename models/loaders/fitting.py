"""Putting the weights of a checkpoint into a network, by torch's own `load_state_dict`.

Names are compared by torch and not before it: networks translate older names in hooks of their own, as
torchvision's vision transformers and torch's weight norm do. What is tried here is what wrappers put before
the names.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import SourceError
from pinnace.models.loaders.foreign import describe
from pinnace.models.loaders.state_dict import is_averaged, plain_state

if TYPE_CHECKING:
    import torch

Rename = Callable[[str], str]

_SHOWN = 5
_PREFIXES_TRIED = 3

# torchvision's DenseNet weights were written before its layers were called norm1, conv1, ...
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\..*)$")
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PARALLEL = re.compile(r"(?:^|(?<=\.))module\.")
# What training puts beside the layers of a network: losses, metrics, counters, the mean and std of images.
OF_TRAINING = re.compile(
    r"(?:criterion\w*|loss\w*|\w+_loss(?:es)?|\w*metrics?|(?:train|val|valid|test)_\w+|acc|accuracy|\w+_acc"
    r"|n_averaged|num_updates|ema_decay)(?:\..*|$)|(?:.*\.)?(?:total_ops|total_params)$"
    r"|data_preprocessor\.(?:mean|std)$"
)
_COUNTERS = ("n_averaged", "total_ops", "total_params")
_QUANTISED = (
    "these are the weights of a quantised network: save those from before it was quantised, or the whole "
    "network with torch.jit.save(torch.jit.script(model), PATH), and export that"
)
_QUOTED = re.compile(r'"([^"]+)"')
_MISMATCH = re.compile(
    r"size mismatch for (?P<name>\S+): copying a param with shape torch.Size\(\[(?P<got>[^\]]*)\]\) from "
    r"checkpoint, the shape in current model is torch.Size\(\[(?P<want>[^\]]*)\]\)"
)


@dataclass(frozen=True)
class Candidate:
    """A reading of a checkpoint's names.

    Attributes:
        weights: what goes to the network, by the names that it may know.
        prefix: what was taken from the beginning of the names.
        left_out: names of the checkpoint that do not begin with it.
        metadata: the versions of the layers that wrote it, by the same names.
    """

    weights: Mapping[str, Any]
    prefix: str = ""
    left_out: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None


@dataclass
class Misfit:
    """Why weights do not fit a network."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.shapes}
        parts = [f"{len(names)} {kind} ({_listed(names)})" for kind, names in kinds.items() if names]
        return "; ".join(parts + self.other[:_SHOWN])


def fit_weights(module: torch.nn.Module, state: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Put weights into a network, whatever wrappers put before their names.

    Args:
        module: the network; its weights are replaced.
        state: the weights by name, with `_metadata` as torch writes it, if it has it.
        path: the checkpoint, for messages.

    Returns:
        Sentences on what was left out of the checkpoint.

    Raises:
        SourceError: names or shapes do not fit, or a weight is no dense tensor of numbers.
        CheckFailed: a weight is NaN or infinite.
    """
    wanted = dict(module.state_dict())
    complex_names = {name for name, value in wanted.items() if _is_complex(value)}
    found: Misfit | None = None
    for candidate in candidates(state, wanted, module):
        misfit, strays = _load(module, candidate, wanted)
        if misfit is None:
            _check(module, candidate, complex_names, path)
            return _notes(candidate, strays)
        found = found or misfit
    quantised = any("_packed_params" in name or name.endswith("zero_point") for name in state)
    hint = _QUANTISED if quantised else "check --arch and --num-classes"
    raise SourceError(f"{path} does not fit the network: {found}", hint=hint)


def candidates(
    state: Mapping[str, Any], wanted: Mapping[str, Any], module: torch.nn.Module | None = None
) -> Iterator[Candidate]:
    """Readings of a checkpoint's names, the likeliest first.

    Tried in order: names as they are; without what torch.compile, FSDP and DataParallel put into them; with
    the names that DenseNet has today; as the module of a timm network translates them. Of each, without the
    prefix under which most of the network's names are, and without the first part that all names share.
    """
    metadata = getattr(state, "_metadata", None)
    seen: list[frozenset[str]] = []
    names: Rename
    for names in renamings():
        renamed = {names(name): value for name, value in state.items()}
        if len(renamed) != len(state):
            continue
        renamed_metadata = _renamed_metadata(metadata, names)
        for prefix in _prefixes(renamed, wanted):
            candidate = _under(renamed, prefix, renamed_metadata)
            if (keys := frozenset(candidate.weights)) not in seen:
                seen.append(keys)
                yield candidate
    if added := _common_prefix(wanted):
        yield Candidate({added + name: value for name, value in state.items()})
    if module is not None:
        yield from _translated(state, wanted, module)


def renamings() -> tuple[Rename, ...]:
    """What may have happened to names, the likeliest first."""
    return (_as_it_is, _unwrapped, _old_densenet, _old_vision_transformer, _not_parallel, _of_mmpretrain)


def _as_it_is(name: str) -> str:
    return name


def _unwrapped(name: str) -> str:
    return _WRAPPERS.sub("", name)


def _old_densenet(name: str) -> str:
    return _OLD_DENSENET.sub(r"\1\2", _unwrapped(name))


def _old_vision_transformer(name: str) -> str:
    """torchvision's names from before version 0.14, by which `recognise` would not know the network."""
    return _unwrapped(name).replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")


def _of_mmpretrain(name: str) -> str:
    """The names of mmpretrain's classifiers, whose ResNets have torchvision's names in two parts."""
    return re.sub(r"^(?:backbone\.|head\.(?=fc\.))", "", _unwrapped(name))


def _not_parallel(name: str) -> str:
    return _PARALLEL.sub("", _unwrapped(name))


def _prefixes(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Prefixes of the names, the one under which most of the network's names are first."""
    hits: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                hits[".".join([*parts[:start], ""]) if start else ""] += 1
    ranked = sorted(hits, key=lambda prefix: (-hits[prefix], is_averaged(prefix), len(prefix)))
    # As it is, it has the first word unless most of the names are elsewhere.
    first = [""] if not ranked or hits[""] == hits[ranked[0]] else []
    shared = _common_prefix(state)
    return list(dict.fromkeys([*first, *ranked[:_PREFIXES_TRIED], *([shared] if shared else []), ""]))


def _common_prefix(names: Mapping[str, Any]) -> str:
    """The first part that all names share, with its dot; or nothing."""
    firsts = {name.partition(".")[0] for name in names}
    return f"{firsts.pop()}." if len(firsts) == 1 and all("." in name for name in names) else ""


def _under(state: Mapping[str, Any], prefix: str, metadata: Mapping[str, Any] | None) -> Candidate:
    if metadata is not None and prefix:
        metadata = {
            f"{name}."[len(prefix) :].removesuffix("."): value
            for name, value in metadata.items()
            if f"{name}.".startswith(prefix)
        }
    return Candidate(
        {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)},
        prefix,
        tuple(name for name in state if not name.startswith(prefix)),
        metadata,
    )


def _renamed_metadata(metadata: Mapping[str, Any] | None, names: Rename) -> Mapping[str, Any] | None:
    if metadata is None:
        return None
    return {names(f"{name}.").removesuffix("."): value for name, value in metadata.items()}


def _translated(
    state: Mapping[str, Any], wanted: Mapping[str, Any], module: torch.nn.Module
) -> Iterator[Candidate]:
    """As timm itself translates the original files of a network's authors."""
    home = type(module).__module__
    if not home.startswith("timm.models."):
        return
    translate = getattr(importlib.import_module(home), "checkpoint_filter_fn", None)
    if translate is None:
        return
    try:
        translated = translate(dict(state), module)
    except Exception:  # it expects names that are not there
        return
    if isinstance(translated, Mapping) and translated:
        yield Candidate(translated)


def _load(
    module: torch.nn.Module, candidate: Candidate, wanted: Mapping[str, Any]
) -> tuple[Misfit | None, tuple[str, ...]]:
    """Load a candidate; a misfit where it does not fit, else the names that the network did not take."""
    import torch

    weights = OrderedDict((name, _cast(value, wanted.get(name))) for name, value in candidate.weights.items())
    others = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    strays = [name for name in others if name not in wanted]
    for name in strays:
        del weights[name]
    misfit, unexpected = _attempt(module, weights, candidate.metadata)
    unknown = [name for name in unexpected if not OF_TRAINING.match(name)]
    if misfit is None and unknown:
        misfit = Misfit(unexpected=[_shaped(name, weights.get(name)) for name in unknown])
    return misfit, (*strays, *unexpected)


def _attempt(
    module: torch.nn.Module, weights: OrderedDict[str, Any], metadata: Mapping[str, Any] | None
) -> tuple[Misfit | None, list[str]]:
    own = getattr(module.state_dict(), "_metadata", None)
    given = dict(weights)
    error: Exception | None = None
    for versions in [metadata] if metadata is not None else [None, own]:
        state = OrderedDict(given)
        if versions is not None:
            state._metadata = versions  # type: ignore[attr-defined]
        try:
            # Assigned, not copied: a large checkpoint is then in memory once, and of a weight that claims to
            # be huge and has another shape nothing is touched.
            keys = module.load_state_dict(state, strict=False, assign=True)
        except RuntimeError as caught:
            return _misfit(module, given, versions, str(caught)), []
        except Exception as caught:  # hooks of the network's own
            error = caught
            continue
        # Checkpoints from before torch 0.4.1 lack the counter, and eval mode never looks at it.
        missing = [name for name in keys.missing_keys if not name.endswith("num_batches_tracked")]
        if missing:
            return _misfit(module, given, versions, ""), []
        return None, list(keys.unexpected_keys)
    assert error is not None
    return Misfit(other=[f"its own loading fails: {describe(error)}"]), []


def _misfit(
    module: torch.nn.Module, weights: Mapping[str, Any], metadata: Mapping[str, Any] | None, said: str
) -> Misfit:
    """What torch says when it is told to be strict, sorted."""
    wanted = module.state_dict()
    state = OrderedDict(weights)
    if metadata is not None:
        state._metadata = metadata  # type: ignore[attr-defined]
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        said = str(error)
    misfit = Misfit()
    for line in map(str.strip, said.splitlines()[1:]):
        if line.startswith("Missing key"):
            names = [name for name in _QUOTED.findall(line) if not name.endswith("num_batches_tracked")]
            misfit.missing += [_shaped(name, wanted.get(name)) for name in names]
        elif line.startswith("Unexpected key"):
            names = [name for name in _QUOTED.findall(line) if not OF_TRAINING.match(name)]
            misfit.unexpected += [_shaped(name, weights.get(name)) for name in names]
        elif match := _MISMATCH.match(line):
            got, want = (match[side].replace(" ", "") for side in ("got", "want"))
            misfit.shapes.append(f"{match['name']} [{got}] instead of [{want}]")
        elif line:
            misfit.other.append(line.rstrip("."))
    return misfit


def _cast(value: Any, like: Any) -> Any:
    """Numbers in a floating weight's place are made floating; what is huge has another shape, and stays."""
    import torch

    if (
        isinstance(value, torch.Tensor)
        and isinstance(like, torch.Tensor)
        and not isinstance(like, torch.nn.UninitializedParameter | torch.nn.UninitializedBuffer)
        and value.shape == like.shape
        and like.is_floating_point() != value.is_floating_point()
        and not value.is_complex()
    ):
        return value.to(like.dtype)
    return value


def _check(module: torch.nn.Module, candidate: Candidate, complex_names: set[str], path: Path) -> None:
    """Refuse weights that are in the network now and are no numbers that it can use."""
    import torch

    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            continue
        if value.is_complex() and name not in complex_names:
            raise SourceError(f"the weight {name} in {path} is complex, and the network's is real")
        plain_state({name: value}, path)


def _is_complex(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_complex()


def _notes(candidate: Candidate, strays: tuple[str, ...]) -> tuple[str, ...]:
    left_out = [name for name in candidate.left_out if name not in _COUNTERS]
    left_out += [f"{candidate.prefix}{name}" for name in strays if name.rpartition(".")[2] not in _COUNTERS]
    if not left_out:
        return ()
    before = f"the weights were taken from the names that begin with {candidate.prefix!r}; " * bool(
        candidate.prefix
    )
    return (f"{before}left out of the checkpoint: {len(left_out)} ({_listed(left_out)})",)


def _shaped(name: str, value: Any) -> str:
    try:
        return f"{name} [{','.join(map(str, value.shape))}]"
    except (AttributeError, RuntimeError):  # no tensor, or a lazy one
        return name


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
