"""Which preprocessing an export uses: the source's own, a file's, and what single options change of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from pinnace.models.errors import UsageError
from pinnace.models.preprocess import ColorMode, Interpolation, Preprocess

NONE = "none"
Size = tuple[int, int]


@dataclass(frozen=True)
class Changes:
    """What single options change of a preprocessing; None leaves a field as it is.

    Attributes:
        resize: as `Preprocess.resize`, or `none` for no resize.
        crop: as `Preprocess.crop`, or `none` for no crop.
        interpolation: as `Preprocess.interpolation`.
        color: as `Preprocess.color`.
        mean: as `Preprocess.mean`.
        std: as `Preprocess.std`.
    """

    resize: int | Size | Literal["none"] | None = None
    crop: Size | Literal["none"] | None = None
    interpolation: Interpolation | None = None
    color: ColorMode | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left of the preprocessing that is changed, but the colour."""
        return (
            None not in (self.interpolation, self.mean, self.std)
            and (self.resize is not None or self.crop is not None)
        )  # fmt: skip

    def apply(self, base: Preprocess) -> Preprocess:
        """The preprocessing with the changes.

        An exact resize alone drops the crop; a crop alone keeps its share of the resized edge; a colour alone
        means mean 0 and std 1.

        Raises:
            UsageError: the fields do not fit each other.
        """
        if isinstance(self.crop, tuple) and self.resize is None:
            base = resize_to(base, self.crop)
        elif self.crop is not None:
            base = replace(base, crop=None if self.crop == NONE else cast("Size", self.crop))
        elif isinstance(self.resize, tuple):
            base = replace(base, crop=None)
        if self.resize is not None:
            base = replace(base, resize=None if self.resize == NONE else cast("int | Size", self.resize))
        color = self.color or base.color
        mean, std = self.mean or base.mean, self.std or base.std
        if color != base.color:
            mean, std = self.mean or (0.0,) * len(color), self.std or (1.0,) * len(color)
        return replace(
            base, color=color, mean=mean, std=std, interpolation=self.interpolation or base.interpolation
        )


def parse_changes(
    *,
    resize: str | None = None,
    crop: str | None = None,
    interpolation: str | None = None,
    color: str | None = None,
    mean: str | None = None,
    std: str | None = None,
) -> Changes:
    """Read the options `--resize`, `--crop`, `--interpolation`, `--color`, `--mean` and `--std`.

    Raises:
        UsageError: one of them cannot be read.
    """
    return Changes(
        resize=_resize(resize),
        crop=_crop(crop),
        interpolation=cast("Interpolation | None", _one_of("interpolation", interpolation, Interpolation)),
        color=cast("ColorMode | None", _one_of("color", color, ColorMode)),
        mean=_numbers("mean", mean),
        std=_numbers("std", std),
    )


def parse_size(text: str) -> Size:
    """Read `HxW`.

    Raises:
        UsageError: the text has another form.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"{text!r} is no size", expected="HEIGHTxWIDTH, such as 224x224")
    return int(height), int(width)


def resize_to(preprocess: Preprocess, size: Size) -> Preprocess:
    """The same preprocessing for another input size; the crop keeps its share of the resized edge."""
    if preprocess.crop is None or not isinstance(preprocess.resize, int):
        return replace(preprocess, resize=size, crop=None)
    share = preprocess.resize / max(preprocess.crop)
    return replace(preprocess, resize=round(max(size) * share), crop=size)


def _resize(text: str | None) -> int | Size | Literal["none"] | None:
    if text is None or text == NONE:
        return cast('Literal["none"] | None', text)
    if text.isdecimal() and int(text):
        return int(text)
    return _size("resize", text, "a number for the shortest edge, HEIGHTxWIDTH, or none")


def _crop(text: str | None) -> Size | Literal["none"] | None:
    if text is None or text == NONE:
        return cast('Literal["none"] | None', text)
    if text.isdecimal() and int(text):
        return int(text), int(text)
    return _size("crop", text, "a number, HEIGHTxWIDTH, or none")


def _size(option: str, text: str, expected: str) -> Size:
    try:
        return parse_size(text)
    except UsageError:
        raise UsageError(f"--{option} {text!r} is no size", expected=expected) from None


def _one_of(option: str, text: str | None, literal: object) -> str | None:
    if text is not None and text not in get_args(literal):
        raise UsageError(f"--{option} {text!r} is unknown", expected="one of " + ", ".join(get_args(literal)))
    return text


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--{option} {text!r} is no list of numbers", expected="such as 0.485,0.456,0.406"
        ) from None
