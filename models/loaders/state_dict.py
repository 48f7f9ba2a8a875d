"""Finding the weights in a checkpoint, and the names that the network knows them by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import CheckFailed, SourceError

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]

# Where training scripts put the weights, in the order in which they are looked for; averaged ones last,
# because what was evaluated during training is more often the plain ones.
_PLACES = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "model_state", "params"),
    *("weights", "net_state_dict", "backbone", "classifier"),
    *("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "params_ema"),
)
_DEEPEST = 4

# torchvision's DenseNet weights were written before its layers were called norm1, conv1, ...
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\..*)$")


def find_weights(data: Any, path: Path) -> tuple[State | torch.nn.Module, tuple[str, ...]]:
    """The weights, or the network, somewhere in what a checkpoint holds; and notes on where they were.

    Raises:
        SourceError: there are none.
    """
    import torch

    if isinstance(data, torch.nn.Module) or _is_state(data):
        return data, ()
    found = dict(_nested(data, _DEEPEST))
    if not found:
        raise _no_weights(data, path)
    place, *others = found
    note = f"the weights were taken from {place!r}"
    if others:
        note += "; the file also holds " + ", ".join(map(repr, others))
    return found[place], (note,)


def _nested(data: Any, depth: int, above: str = "") -> Iterator[tuple[str, State | torch.nn.Module]]:
    import torch

    if not isinstance(data, Mapping) or not depth:
        return
    known = [place for place in _PLACES if place in data]
    unknown = [key for key in data if key not in _PLACES and _is_state(data[key])]
    for key in known or (unknown if len(unknown) == 1 else []):
        if isinstance(data[key], torch.nn.Module) or _is_state(data[key]):
            yield f"{above}{key}", data[key]
        else:
            yield from _nested(data[key], depth - 1, f"{above}{key}.")


def _is_state(data: Any) -> bool:
    import torch

    return (
        isinstance(data, Mapping)
        and bool(data)
        and all(isinstance(value, torch.Tensor) for value in data.values())
    )


def _no_weights(data: Any, path: Path) -> SourceError:
    import torch

    if isinstance(data, Mapping):
        odd = [name for name, value in data.items() if not isinstance(value, torch.Tensor)]
        if odd:
            return SourceError(
                f"{path} is no plain state_dict: {odd[0]!r} is no tensor", got=type(data[odd[0]]).__name__
            )
    return SourceError(f"{path} is no state_dict", expected="tensors by name", got=type(data).__name__)


def plain_state(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The weights by name, in float32 where they are floating.

    Raises:
        SourceError: a weight is sparse, quantized, or has no values.
        CheckFailed: a weight is NaN or infinite.
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
            if not bool(torch.isfinite(least) & torch.isfinite(most)):
                raise CheckFailed(f"the weight {name} in {path} is not finite: it holds NaN or infinity")
        plain[name] = tensor
    return plain


def fit(state: dict[str, torch.Tensor], wanted: State) -> dict[str, torch.Tensor]:
    """The state with the names that the network has, where a customary renaming gives them.

    Tried in order: as it is; without what DataParallel (`module.`), torch.compile (`_orig_mod.`) and
    averaging put before the names; and without a first part that all names share. Where none fits, the
    state as it looks without the wrappers' prefixes.
    """
    names = {name for name in wanted if not name.endswith("num_batches_tracked")}
    best = state
    for rename in (dict, _unwrapped, _old_densenet, _without_first_part):
        renamed = rename(best)
        if names <= renamed.keys() <= wanted.keys():
            return renamed
        if rename is not _without_first_part:
            best = renamed
    return best


def _unwrapped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if "n_averaged" in state and all(name.startswith("module.") for name in state if name != "n_averaged"):
        state = {name: value for name, value in state.items() if name != "n_averaged"}
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    while state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _old_densenet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in state.items()}


def _without_first_part(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    firsts = {name.partition(".")[0] for name in state}
    if len(firsts) != 1 or not all("." in name for name in state):
        return state
    return {name.partition(".")[2]: value for name, value in state.items()}
