"""A network of torch that is called with arrays, and wrapped for the writers of formats."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pinnace.export.worker.golden_outputs import ModelFunction
from pinnace.models.bundle.golden import Arrays
from pinnace.models.errors import PinnaceError, SourceError, error_lines
from pinnace.models.loaders.foreign import describe

if TYPE_CHECKING:
    import torch


_CHANNELS = re.compile(r"expected input\[[^\]]*\] to have (\d+) channels, but got (\d+)")
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
                wanted = _CHANNELS.search(str(error))
                on_gpu = _GPU.search(str(error)) is not None
                raise SourceError(
                    f"the model does not run on {_inputs(len(tensors))} of shape {shapes}: {_reason(error)}",
                    hint=_GPU_HINT
                    if on_gpu
                    else hint
                    if wanted is None
                    else _channels_hint(*wanted.groups()),
                ) from error
        return {name: _array(name, tensor) for name, tensor in answers.items()}

    return run


def _channels_hint(wanted: str, got: str) -> str:
    if wanted == "1":
        return "the first layer takes images of one channel: --color L"
    if wanted == "3" and got == "1":
        return "the first layer takes images of three channels: --color RGB"
    return (
        f"a layer takes {wanted} channels, and a bundle prepares images of 1 or 3: with --input "
        f"x=float32[batch,{wanted},224,224] the network becomes a bundle for `pinnace verify` and "
        "`pinnace bench`"
    )


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
    """A model's result as named tensors: `logits` for one, the names of a dict, a named tuple or a dataclass,
    or `output_0`, `output_1`, ...; what is None is left out, and a tuple within has the names `a_0`, `a_1`.

    Raises:
        SourceError: it holds something that is not a tensor, or nothing.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return {"logits": result}
    if isinstance(result, list) and any(isinstance(each, Mapping) and "boxes" in each for each in result):
        raise SourceError(
            "the network detects objects: it answers with another number of boxes for each image, which a "
            "bundle cannot hold"
        )
    if isinstance(result, tuple | list) and not hasattr(result, "_fields"):
        kept = [value for value in result if value is not None]
        if len(kept) == 1:
            return flatten(kept[0])
    named = dict(_named("", result))
    if not named:
        raise SourceError("the model returns nothing")
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"the model returns something that is not a tensor: {name or 'the result'}",
                got=type(value).__name__,
            )
    return named


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a result holds, each with its name."""
    parts: Mapping[Any, Any] | None = None
    if isinstance(value, Mapping):
        parts = value
    elif hasattr(value, "_fields"):
        parts = dict(zip(value._fields, value, strict=True))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = vars(value)
    elif isinstance(value, tuple | list):
        parts = {f"{name or 'output'}_{place}": part for place, part in enumerate(value)}
        name = ""
    if parts is None:
        yield name, value
        return
    for key, part in parts.items():
        if part is not None:
            yield from _named(f"{name}_{key}" if name else str(key), part)


def keep_rows(module: torch.nn.Module, run: ModelFunction, feeds: Arrays) -> torch.nn.Module | None:
    """The network with a row for one image as for several, where it squeezes its answer to one; else None.

    Args:
        module: the network.
        run: gives its outputs.
        feeds: one image, by the name of its input.
    """
    one = run(feeds)
    try:
        two = run({name: np.concatenate([array, array]) for name, array in feeds.items()})
    except SourceError:
        return None
    if one.keys() != two.keys():  # a list with an answer for each image
        return None
    lost = {
        name for name, array in one.items() if array.shape != two[name].shape[1:] and array.shape[:1] != (1,)
    }
    squeezed = {name: array.shape for name, array in one.items() if (2, *array.shape) == two[name].shape}
    if lost or not squeezed:
        return None
    return _rows(module, squeezed)


def _rows(module: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> torch.nn.Module:
    import torch

    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            with _keeping_the_batch():
                answers = flatten(self.module(images))
            return {
                name: answer.reshape(images.shape[0], *shapes[name]) if name in shapes else answer
                for name, answer in answers.items()
            }

    return Rows().eval()


@contextlib.contextmanager
def _keeping_the_batch() -> Iterator[None]:
    """Let `squeeze()` keep the first dimension; exporters write it so that it drops that of one image."""
    import torch

    tensor_class: Any = torch.Tensor
    method, function = tensor_class.squeeze, torch.squeeze

    def squeeze(tensor: torch.Tensor, *dims: Any, **named: Any) -> torch.Tensor:
        if not (dims or named):
            ones = tuple(place for place in range(1, tensor.dim()) if tensor.shape[place] == 1)
            if not ones:  # exporters know no squeeze of nothing
                return tensor
            dims = (ones,)
        return method(tensor, *dims, **named)  # type: ignore[no-any-return]

    tensor_class.squeeze = torch.squeeze = squeeze  # type: ignore[assignment]
    try:
        yield
    finally:
        tensor_class.squeeze, torch.squeeze = method, function


def declared_classes(module: torch.nn.Module) -> int | None:
    """How many classes a network says that it has, 0 for a network of timm without its head; or None."""
    declared = getattr(module, "num_classes", None)
    return declared if isinstance(declared, int) and not isinstance(declared, bool) else None


def told(run: ModelFunction, tell: Callable[[str], None], every: float = 2.0) -> ModelFunction:
    """The same function, which says how often it has answered.

    Args:
        run: gives a model's outputs for inputs.
        tell: is given that in words.
        every: seconds between two times, so that a quick model says nothing.
    """
    count, last = 0, time.monotonic()

    def answer(feeds: Arrays) -> Arrays:
        nonlocal count, last
        answers = run(feeds)
        count += 1
        if time.monotonic() - last >= every:
            last = time.monotonic()
            tell(f"{count} {'answer' if count == 1 else 'answers'} so far")
        return answers

    return answer


def make_traceable() -> None:
    """Let `torch.export` follow networks that have torchvision's older `Normalize` in them.

    It looks whether a deviation is zero, which is taken for a decision that depends on the data. The newer
    kernel, with the same arithmetic, looks at Python's numbers instead. For a process that only exports.
    """
    from torchvision.transforms import _functional_tensor
    from torchvision.transforms.v2 import functional

    _functional_tensor.normalize = functional.normalize_image


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
