"""A whole preprocessing as what a user would say of each of its fields."""

from __future__ import annotations

from pinnace.export.preprocessing import Changes
from pinnace.models.image.preprocess import Preprocess


def as_changes(preprocess: Preprocess) -> Changes:
    """Changes that make this preprocessing of any other with the same layout."""
    return Changes(
        resize="none" if preprocess.resize is None else preprocess.resize,
        crop="none" if preprocess.crop is None else preprocess.crop,
        interpolation=preprocess.interpolation,
        color=preprocess.color,
        mean=preprocess.mean,
        std=preprocess.std,
        exif=preprocess.exif,
        scale=preprocess.scale,
    )
