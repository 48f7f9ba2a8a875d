"""Finding the weights in a checkpoint."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import CheckFailed, SourceError, UsageError

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]

EMA = "ema"

# Averaged weights that the trainer's own loader takes where they are there: `load_checkpoint` of timm, the
# classification reference of torchvision.
_TAKEN_FIRST = ("state_dict_ema", "model_ema")
# Where training scripts put the weights, in the order in which they are looked for. Other averaged ones are
# last, because nobody says that they are what was evaluated; mmengine even puts the plain ones there.
_PLACES = (
    *_TAKEN_FIRST,
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "model_state", "params"),
    *("weights", "net_state_dict", "backbone", "classifier"),
    *("ema_state_dict", "ema_model", "ema", "params_ema", "teacher", "student"),
)
_DEEPEST = 4
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|averaged?)(?:[._]|$)", re.IGNORECASE)
_FEWEST_TENSORS = 2 / 3


def is_averaged(name: str) -> bool:
    """Whether a place in a checkpoint, or a prefix of names, speaks of averaged weights."""
    return _AVERAGED.search(name) is not None


def find_weights(
    data: Any, path: Path, wanted: str | None = None
) -> tuple[State | torch.nn.Module, tuple[str, ...]]:
    """The weights, or the network, somewhere in what a checkpoint holds; and notes on where they were.

    Args:
        data: what was read.
        path: the file, for messages.
        wanted: which weights: the place where they are, a prefix of their names, or `ema` for averaged ones;
            by default those that the trainer's own loader takes.

    Raises:
        SourceError: there are none.
        UsageError: those that are wanted are not there, or several are and nothing says which.
    """
    import torch

    if isinstance(data, tuple | list) and any(isinstance(item, Mapping) for item in data):
        data = {str(place): item for place, item in enumerate(data)}  # weights, and what was beside them
    if isinstance(data, torch.nn.Module) or _is_state(data):
        found: dict[str, State | torch.nn.Module] = {"": data}
    else:
        found = dict(sorted(_nested(data, _DEEPEST), key=lambda item: _taken_later(*item)))
    if not found and _is_mostly_state(data):
        found = {"": data}
    if wanted is not None:
        return _choose(data, found, wanted, path)
    if not found:
        raise _no_weights(data, path)
    place, *others = found
    return _plain(found[place]), (_note(place, others),) if place else ()


def holds_weights(data: Any, path: Path) -> bool:
    """Whether there are weights in what a checkpoint holds, and no pickled network in their place.

    Args:
        data: what was read, with objects of classes that were not imported as mappings with attributes.
        path: the file.
    """
    within = data.values() if isinstance(data, Mapping) else ()
    if any("_modules" in getattr(each, "__dict__", {}) for each in (data, *within)):
        return False
    try:
        find_weights(data, path)
    except UsageError:  # several, and nothing says which
        return True
    except SourceError:
        return False
    return True


def _note(place: str, others: list[str]) -> str:
    note = f"the weights were taken from {place!r}"
    if others:
        note += "; the file also holds " + ", ".join(map(repr, others))
        if place.rpartition(".")[0] in _TAKEN_FIRST or place in _TAKEN_FIRST:
            note += f", which --weights {others[0]} takes"
    return note


def _taken_later(place: str, weights: State | torch.nn.Module) -> bool:
    """Whether a place comes after the others: Ultralytics and RT-DETR take an averaged network first."""
    import torch

    return not (place == "ema" and isinstance(weights, torch.nn.Module)) and place != "ema.module"


def _choose(
    data: Any, found: Mapping[str, State | torch.nn.Module], wanted: str, path: Path
) -> tuple[State | torch.nn.Module, tuple[str, ...]]:
    """What `--weights` asks for: a place, averaged weights, or those whose names begin with a word."""
    import torch

    place = wanted
    chosen: Any = found.get(wanted, _at(data, wanted))
    if wanted == EMA and not _is_weights(chosen):
        averaged = [place for place in found if is_averaged(place)]
        chosen, place = (found[averaged[0]], averaged[0]) if averaged else (None, wanted)
    if _is_weights(chosen):
        others = [other for other in found if other and other != place]
        return _plain(chosen), (_note(place, others),)
    prefixes: dict[str, None] = {}
    for weights in found.values():
        state = weights.state_dict() if isinstance(weights, torch.nn.Module) else weights
        firsts = dict.fromkeys(str(name).partition(".")[0] for name in state if "." in str(name))
        prefixes.update(firsts)
        prefix = next((first for first in firsts if wanted == EMA and is_averaged(first)), wanted) + "."
        under = OrderedDict((name, value) for name, value in state.items() if str(name).startswith(prefix))
        if under:
            under._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
            return _plain(under), (f"the weights were taken from the names that begin with {prefix!r}",)
    raise UsageError(
        f"{path} holds no weights {wanted!r}",
        expected="one of " + ", ".join([*filter(None, found), *prefixes]) if found else None,
        hint="leave --weights out" if found else None,
    )


def _at(data: Any, place: str) -> Any:
    """What stands at a place such as `model.state_dict`, or None."""
    for key in place.split("."):
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _is_weights(data: Any) -> bool:
    import torch

    return isinstance(data, torch.nn.Module) or _is_state(data) or _is_mostly_state(data)


def _nested(data: Any, depth: int, above: str = "") -> Iterator[tuple[str, State | torch.nn.Module]]:
    import torch

    if not isinstance(data, Mapping) or not depth:
        return
    known = [place for place in _PLACES if place in data]
    others = [key for key in data if key not in _PLACES and _is_state(data[key])]
    found = []
    for key in known:
        if isinstance(data[key], torch.nn.Module) or _is_state(data[key]):
            found.append((f"{above}{key}", data[key]))
            continue
        within = list(_nested(data[key], depth - 1, f"{above}{key}."))
        if not within and _is_mostly_state(data[key]):
            within = [(f"{above}{key}", data[key])]
        found += within
    yield from found
    # Beside a known place they are what else there is; alone, one of them is what is looked for.
    if found or len(others) == 1:
        yield from ((f"{above}{key}", data[key]) for key in others)


def _is_state(data: Any) -> bool:
    """Whether this is a mapping of tensors; what layers keep beside their tensors does not count."""
    if not isinstance(data, Mapping) or not data:
        return False
    tensors = [_is_tensor(value) for name, value in data.items() if not str(name).endswith("_extra_state")]
    return bool(tensors) and all(tensors)


def _is_mostly_state(data: Any) -> bool:
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        return False
    return sum(map(_is_tensor, data.values())) > _FEWEST_TENSORS * len(data)


def _is_tensor(value: Any) -> bool:
    import numpy as np
    import torch

    return isinstance(value, torch.Tensor | np.ndarray)


def _plain(weights: Any) -> State | torch.nn.Module:
    """The weights with arrays of NumPy as tensors, and the versions that torch wrote beside them."""
    import numpy as np
    import torch

    if isinstance(weights, torch.nn.Module) or not any(isinstance(v, np.ndarray) for v in weights.values()):
        return weights  # type: ignore[no-any-return]
    return {
        name: torch.from_numpy(np.require(value, requirements="W"))
        if isinstance(value, np.ndarray)
        else value
        for name, value in weights.items()
    }


def _no_weights(data: Any, path: Path) -> SourceError | UsageError:
    if isinstance(data, Mapping):
        several = [str(key) for key in data if _is_state(data[key])]
        if len(several) > 1:
            return UsageError(
                f"{path} holds several sets of weights, and nothing says which are the network's",
                expected="--weights with one of " + ", ".join(several),
                hint=f"--weights {several[0]}",
            )
        odd = [name for name, value in data.items() if not _is_tensor(value)]
        if odd:
            return SourceError(
                f"{path} is not a plain state_dict: {odd[0]!r} is not a tensor",
                got=type(data[odd[0]]).__name__,
            )
    return SourceError(f"{path} is not a state_dict", expected="tensors by name", got=type(data).__name__)


def plain_state(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The weights by name, in float32 where they are floating.

    Raises:
        SourceError: a weight is sparse, quantized, or has no values.
        CheckFailed: a weight is NaN or infinite. Where all is infinity or zero, it is a bound
            that clamps nothing, or a mask.
    """
    import torch

    plain = {}
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "quantized" if tensor.is_quantized else "without values" if tensor.is_meta else "sparse"
            raise SourceError(f"the weight {name} in {path} is {kind}", expected="a dense tensor of numbers")
        try:
            tensor = tensor.float() if tensor.is_floating_point() else tensor
        except RuntimeError:  # two numbers in one byte, for which torch has no arithmetic
            raise SourceError(
                f"the weight {name} in {path} cannot be read as numbers",
                got=str(tensor.dtype).removeprefix("torch."),
            ) from None
        if tensor.is_floating_point() and tensor.numel():
            least, most = torch.aminmax(tensor)  # NaN wins over both; no copy of the weight is made
            finite = bool(torch.isfinite(least) & torch.isfinite(most))
            if not finite and not bool(((tensor == 0) | tensor.isinf()).all()):
                raise CheckFailed(f"the weight {name} in {path} is not finite: it holds NaN or infinity")
        plain[name] = tensor
    return plain
