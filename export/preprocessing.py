"""Which preprocessing an export uses: the source's own, and what a file and single options change of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import UNIT, ColorMode, Interpolation, Preprocess
from pinnace.models.loaders.base import imagenet_preprocess, resize_to
from pinnace.models.toml import read_toml

NONE = "none"
Size = tuple[int, int]

# No pixel of 0..1 lies beyond it, and no deviation of one is so large: what does is meant for 0..255.
_LARGEST_MEAN = 1.0
_LARGEST_STD = 4.0


def parse_scale(text: str) -> float:
    """Read a number, or a fraction such as `1/255`.

    Raises:
        UsageError: it is neither, or not positive.
    """
    above, _, below = text.partition("/")
    try:
        scale = float(above) / float(below or "1")
    except (ValueError, ZeroDivisionError):
        scale = 0.0
    if not 0 < scale < float("inf"):
        raise UsageError(f"--scale {text!r} is not a positive number", expected="such as 1/255, 1/127.5 or 1")
    return scale


def _read_scale(value: object) -> object:
    return parse_scale(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Changes:
    """What a file or single options change of a preprocessing; None leaves a field as it is.

    Attributes:
        resize: as `Preprocess.resize`, or `none` for no resize.
        crop: as `Preprocess.crop`, or `none` for no crop.
        interpolation: as `Preprocess.interpolation`.
        color: as `Preprocess.color`.
        mean: as `Preprocess.mean`.
        std: as `Preprocess.std`.
        exif: as `Preprocess.exif`.
        scale: as `Preprocess.scale`.
    """

    resize: int | Size | Literal["none"] | None = None
    crop: Size | Literal["none"] | None = None
    interpolation: Interpolation | None = None
    color: ColorMode | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exif: bool | None = None
    scale: Annotated[float | None, BeforeValidator(_read_scale)] = None

    @property
    def left(self) -> tuple[str, ...]:
        """What is left of the preprocessing that is changed, in words."""
        size = self.resize if self.crop is None else self.crop
        given = {
            "size": size,
            "interpolation": self.interpolation,
            "color": self.color,
            "mean": self.mean,
            "std": self.std,
        }
        return tuple(name for name, value in given.items() if value is None)

    @property
    def means_pixels(self) -> bool:
        """Whether mean or std are plainly meant for pixels of 0..255, and no scale is given."""
        return self.scale is None and (
            any(abs(value) > _LARGEST_MEAN for value in self.mean or ())
            or any(abs(value) >= _LARGEST_STD for value in self.std or ())
        )

    def over(self, other: Changes) -> Changes:
        """Both changes; where both say something of a field, this one's."""
        return Changes(
            **asdict(other) | {name: value for name, value in asdict(self).items() if value is not None}
        )

    def apply(self, base: Preprocess) -> Preprocess:
        """The preprocessing with the changes.

        An exact resize alone drops the crop; a crop alone keeps its share of the resized edge. Another scale,
        and a colour with another number of channels, mean mean 0 and std 1 where those are not given; `BGR`
        for `RGB` turns them around. Mean or std that are plainly meant for pixels of 0..255 bring scale 1,
        and others that normalise bring 1/255 where the pixels were left as they are.

        Raises:
            UsageError: the fields do not fit each other.
        """
        if self.resize is not None or self.crop is not None:
            base = replace(base, aspect="squeeze")
        if isinstance(self.crop, tuple) and self.resize is None:
            base = resize_to(base, self.crop)
        elif self.crop is not None:
            base = replace(base, crop=None if self.crop == NONE else cast("Size", self.crop))
        elif isinstance(self.resize, tuple):
            base = replace(base, crop=None)
        if self.resize is not None:
            base = replace(base, resize=None if self.resize == NONE else cast("int | Size", self.resize))
        color = self.color or base.color
        scale = self._scale(base)
        mean, std = base.mean, base.std
        if len(color) != len(base.color) or scale != base.scale:
            mean, std = (0.0,) * len(color), (1.0,) * len(color)
        elif color != base.color:
            mean, std = mean[::-1], std[::-1]
        mean, std = self.mean or mean, self.std or std
        return replace(
            base,
            color=color,
            mean=mean,
            std=std,
            scale=scale,
            interpolation=self.interpolation or base.interpolation,
            exif=base.exif if self.exif is None else self.exif,
        )

    def _scale(self, base: Preprocess) -> float:
        if self.scale is not None:
            return self.scale
        if self.means_pixels:
            return 1.0
        normalises = any(self.mean or ()) or any(value != 1 for value in self.std or ())
        return UNIT if base.scale == 1 and normalises else base.scale


_CHANGES = TypeAdapter(Changes)


def read_changes(path: Path) -> Changes:
    """Read a TOML file whose keys are fields of `Changes`.

    Raises:
        UsageError: the file is missing, no TOML, or has a wrong field.
    """
    data = read_toml(path, "preprocessing")
    names = [field.name for field in fields(Changes)]
    if unknown := sorted(set(data) - set(names)):
        raise UsageError(f"{path}: there is no field {unknown[0]!r}", expected=", ".join(names))
    try:
        changes = _CHANGES.validate_python(data)
        changes.apply(_like(changes))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {first['loc'][0]}: {first['msg']}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", expected=error.expected, got=error.got) from None
    return changes


def _like(changes: Changes) -> Preprocess:
    """A preprocessing that changes could be meant for, to try them before the model is loaded."""
    grey = changes.color is None and len(changes.mean or changes.std or ()) == 1
    return Changes(color="L").apply(imagenet_preprocess()) if grey else imagenet_preprocess()


def parse_changes(
    *,
    resize: str | None = None,
    crop: str | None = None,
    interpolation: str | None = None,
    color: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    scale: str | None = None,
) -> Changes:
    """Read the options `--resize`, `--crop`, `--interpolation`, `--color`, `--mean`, `--std` and `--scale`.

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
        scale=None if scale is None else parse_scale(scale),
    )


def parse_size(text: str) -> Size:
    """Read `HxW`.

    Raises:
        UsageError: the text has another form.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"{text!r} is not a size", expected="HEIGHTxWIDTH, such as 224x224")
    return int(height), int(width)


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
        raise UsageError(f"--{option} {text!r} is not a size", expected=expected) from None


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
            f"--{option} {text!r} is not a list of numbers", expected="such as 0.485,0.456,0.406"
        ) from None
