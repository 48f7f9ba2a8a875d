"""A network of torch that is called with arrays, and wrapped for the writers of formats."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.models.bundle.golden import Arrays
from pinnace.models.errors import PinnaceError, SourceError, error_lines
from pinnace.models.loaders.foreign import describe

if TYPE_CHECKING:
    import torch


_GPU = re.compile(r"\bcuda\b|\bnvidia\b|\bcudnn", re.IGNORECASE)
_GPU_HINT = (
    "the network's code moves data to a GPU by itself: put it where its input is (x.device), or trace and "
    "save it again after model.cpu()"
)


def model_function(module: torch.nn.Module, *, hint: str) -> ModelFunction:
    """Make a function that gives a network's outputs for inputs.

    Args:
        module: the network, in eval mode.
        hint: what to do where it does not run on an input.
    """
    import torch

    def run(feeds: Arrays) -> Arrays:
        tensors = [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in feeds.values()]
        with torch.inference_mode():
            try:
                answers = flatten(module(*tensors))
            except PinnaceError:
                raise
            except Exception as error:
                shapes = " and ".join(str(list(tensor.shape)) for tensor in tensors)
                on_gpu = _GPU.search(str(error)) is not None
                raise SourceError(
                    f"the model does not run on {_inputs(len(tensors))} of shape {shapes}: {_reason(error)}",
                    hint=_GPU_HINT if on_gpu else hint,
                ) from error
        return {name: _array(name, tensor) for name, tensor in answers.items()}

    return run


def _inputs(count: int) -> str:
    return "an input" if count == 1 else "inputs"


def _reason(error: BaseException) -> str:
    """What an error says in one line; TorchScript's begin with where it happened, and end with what did."""
    lines = error_lines(error)
    if "TorchScript interpreter" not in lines[0]:
        return describe(error)
    return f"{type(error).__name__}: {lines[-1].removeprefix('RuntimeError: ')}"


def _array(name: str, tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    try:
        # Copied: an answer may be an input, or a view of another.
        array: np.ndarray[Any, Any] = tensor.detach().cpu().numpy().copy()
    except (TypeError, RuntimeError) as error:
        raise SourceError(
            f"the model's output {name} cannot be held by NumPy",
            expected="a dense tensor of numbers",
            got=str(tensor.dtype).removeprefix("torch."),
        ) from error
    return array


def flatten(result: Any) -> dict[str, torch.Tensor]:
    """A model's result as named tensors: `logits` for one, the keys of a dict, or `output_0`, `output_1`, ...

    Raises:
        SourceError: it holds something that is not a tensor, or nothing.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return {"logits": result}
    if isinstance(result, dict):
        named = {str(name): value for name, value in result.items()}
    elif isinstance(result, tuple | list):
        if len(result) == 1:
            return flatten(result[0])
        named = {f"output_{index}": value for index, value in enumerate(result)}
    else:
        named = {"the result": result}
    if not named:
        raise SourceError("the model returns nothing")
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"the model returns something that is not a tensor: {name}", got=type(value).__name__
            )
    return named


def declared_classes(module: torch.nn.Module) -> int | None:
    """How many classes a network says that it has, 0 for a network of timm without its head; or None."""
    declared = getattr(module, "num_classes", None)
    return declared if isinstance(declared, int) and not isinstance(declared, bool) else None


def flat_module(module: torch.nn.Module) -> torch.nn.Module:
    """A network with the same inputs that gives a tensor or a tuple of tensors, as exported graphs do."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            values = tuple(flatten(self.module(*inputs)).values())
            return values[0] if len(values) == 1 else values

    return Flat().eval()
