"""What an export took for granted about its images, in sentences: nothing that was guessed stays unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.export.preprocessing import Changes
from pinnace.models.image.preprocess import PIXELS, UNIT, Preprocess

NO_PROOF = (
    "parity shows that the variants answer like the model, and not that the images are prepared as in its "
    "training: --images DIR, with a folder for each class, counts right answers"
)

# The mean of ImageNet's pixels in RGB: of 0..1, of 0..255, and Caffe's for 0..1.
_MEANS = ((0.485, 0.456, 0.406), (123.68, 116.779, 103.939), (0.48502, 0.457957, 0.407604))
_CLOSE = 0.01


@dataclass(frozen=True)
class Inside:
    """A normalisation that a model's own first nodes do.

    Attributes:
        mean: what each channel of the input is that becomes 0.
        std: what one unit of the result is in the input.
        takes: the largest pixel that it was made for, 255 or 1; None where that cannot be seen.
        color: the order of the channels of the input, as the means show it; None where they do not.
        swaps: it turns the channels around.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    takes: int | None
    color: str | None = None
    swaps: bool = False

    def __str__(self) -> str:
        return f"(x - {_words(self.mean)}) / {_words(self.std)}"


def assumed(preprocess: Preprocess, left: Sequence[str], whose: str | None) -> str:
    """What of a preprocessing was not said by anybody.

    Args:
        preprocess: what an image goes through.
        left: which parts of it were assumed; see `Changes.left`.
        whose: whose preprocessing is taken for the source's; None for ImageNet's customary one.
    """
    parts = {
        "size": _size(preprocess),
        "resize": _size(preprocess),
        "interpolation": preprocess.interpolation,
        "color": preprocess.color,
        "mean": "mean " + _words(preprocess.mean),
        "std": "std " + _words(preprocess.std),
    }
    said = ", ".join(parts[name] for name in left)
    return (
        f"the source does not say how images are preprocessed; assumed, as is customary for "
        f"{whose or 'ImageNet'}: {said}"
    )


def remarks(changes: Changes, preprocess: Preprocess, inside: Inside | None) -> list[str]:
    """What looks wrong about a preprocessing, each with the options that would do it right.

    Args:
        changes: what the user said of it.
        preprocess: what came of that.
        inside: what the model does itself.
    """
    found = _about_scale(changes, preprocess)
    if swapped := _swapped(preprocess):
        found.append(swapped)
    if inside is not None:
        found += _about_inside(preprocess, inside)
    return found


def _about_scale(changes: Changes, preprocess: Preprocess) -> list[str]:
    mean, std, scale = preprocess.mean, preprocess.std, preprocess.scale
    if preprocess.dtype in PIXELS:
        return []
    if changes.means_pixels:
        named = " and ".join(
            f"{name} {_words(values)}"
            for name, values in (("mean", changes.mean), ("std", changes.std))
            if values is not None
        )
        return [
            f"{named} can only be meant for pixels of 0..255, so pixels are not divided by 255: "
            + _options(preprocess)
        ]
    if scale == UNIT and (max(map(abs, mean)) > 1 or max(map(abs, std)) >= 4):
        # A scale of 1/255 was asked for in so many words.
        return [
            f"pixels are divided by 255 before mean {_words(mean)} and std {_words(std)} are applied, which "
            f"are plainly meant for 0..255; for those: --scale 1 --mean {_list(mean)} --std {_list(std)}"
        ]
    if scale == 1 and any(mean) and max(map(abs, mean)) <= 1 and max(map(abs, std)) <= 1:
        return [
            f"pixels of 0..255 are normalised with mean {_words(mean)} and std {_words(std)}, which are "
            f"plainly meant for 0..1; for those: --scale 1/255 --mean {_list(mean)} --std {_list(std)}"
        ]
    return []


def _swapped(preprocess: Preprocess) -> str | None:
    """Where the mean is that of ImageNet in the other order than the channels have."""
    if order_of(preprocess.mean) in (None, preprocess.color):
        return None
    other = "BGR" if preprocess.color == "RGB" else "RGB"
    order = "blue, green, red" if preprocess.color == "RGB" else "red, green, blue"
    return (
        f"mean {_words(preprocess.mean)} is ImageNet's in the order {order}, and the channels are "
        f"{preprocess.color}; if the network was trained on {other}"
        f"{' (Caffe, OpenCV)' if other == 'BGR' else ''}: --color {other} --scale {_scale(preprocess.scale)} "
        f"--mean {_list(preprocess.mean)} --std {_list(preprocess.std)}"
    )


def _about_inside(preprocess: Preprocess, inside: Inside) -> list[str]:
    begins = f"the model begins with a normalisation of its own, {inside}"
    if inside.takes is None:
        return [f"{begins}; whether it stands for that of the images cannot be seen"]
    given = given_range(preprocess)
    wanted = f"pixels of 0..{inside.takes}"
    right = f"--scale {'1' if inside.takes == 255 else '1/255'} --mean 0,0,0 --std 1,1,1"
    if len(preprocess.mean) == 1:
        right = right.replace("0,0,0", "0").replace("1,1,1", "1")
    if given != inside.takes:
        return [f"{begins}, and so wants {wanted}; here they are normalised before it as well: {right}"]
    notes = [f"{begins}, so it is given {wanted} in {preprocess.color} as they are"]
    if inside.color is not None and inside.color != preprocess.color:
        notes.append(f"the means in the model are those of {inside.color} images: --color {inside.color}")
    elif inside.swaps and inside.color is None:
        notes.append(
            f"the model turns the channels around itself; {preprocess.color} was assumed for its input, and "
            f"--color {'BGR' if preprocess.color == 'RGB' else 'RGB'} says otherwise"
        )
    return notes


def given_range(preprocess: Preprocess) -> int | None:
    """255 or 1 where a preprocessing gives pixels of 0..255 or 0..1 and does no more to them; else None."""
    pairs = list(zip(preprocess.mean, preprocess.std, strict=True))
    low = [-mean / std for mean, std in pairs]
    high = [(255 * preprocess.scale - mean) / std for mean, std in pairs]
    if any(abs(value) > 1e-3 for value in low):
        return None
    for top in (255, 1):
        if all(abs(value / top - 1) < 1e-3 for value in high):
            return top
    return None


def _is_imagenet(mean: Sequence[float]) -> bool:
    return any(
        len(mean) == len(known)
        and all(abs(one - other) <= _CLOSE * other for one, other in zip(mean, known, strict=True))
        for known in _MEANS
    )


def order_of(mean: Sequence[float]) -> str | None:
    """`RGB` or `BGR` where a mean is ImageNet's in that order."""
    if _is_imagenet(mean):
        return "RGB"
    return "BGR" if _is_imagenet(mean[::-1]) else None


def options_for(preprocess: Preprocess, taken: Preprocess) -> str:
    """The options that make one preprocessing of another."""
    parts = []
    if _resizing(preprocess) != _resizing(taken):
        resize = preprocess.resize
        parts.append(f"--resize {f'{resize[0]}x{resize[1]}' if isinstance(resize, tuple) else resize}")
        if preprocess.crop is not None:
            height, width = preprocess.crop
            parts.append(f"--crop {height if height == width else f'{height}x{width}'}")
    if _normalisation(preprocess) != _normalisation(taken):
        parts.append(_options(preprocess))
    return " ".join(parts)


def _resizing(preprocess: Preprocess) -> tuple[object, ...]:
    return preprocess.resize, preprocess.crop, preprocess.aspect


def _normalisation(preprocess: Preprocess) -> tuple[object, ...]:
    return preprocess.color, preprocess.scale, preprocess.mean, preprocess.std


def _options(preprocess: Preprocess) -> str:
    return (
        f"--color {preprocess.color} --scale {_scale(preprocess.scale)} --mean {_list(preprocess.mean)} "
        f"--std {_list(preprocess.std)}"
    )


def _size(preprocess: Preprocess) -> str:
    parts = str(preprocess).partition(f"; {preprocess.color}")[0]
    return parts.replace(f", {preprocess.interpolation}", "").replace("; ", " and ")


def _scale(value: float) -> str:
    return f"{value:g}" if value >= 1 else f"1/{1 / value:.6g}"


def _words(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
