"""What was measured of a variant where it was made, and how far it may lie from the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

_Finite = Annotated[float, Field(allow_inf_nan=False)]
# A bound beyond these could not be broken.
_Share = Annotated[float, Field(ge=0, le=1)]
_Cosine = Annotated[float, Field(ge=-1, le=1)]
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]

# Of fewer photographs than this, one whose answer changes is a large share: shares are then not judged.
FEWEST_FOR_SHARES = 20


@dataclass(frozen=True)
class Parity:
    """How far a variant's outputs lie from the eager model's on the golden inputs.

    Attributes:
        max_abs: largest absolute difference of any output element.
        max_rel: largest absolute difference of any sample, divided by the range (max - min) of the eager
            outputs for that sample.
        cosine: smallest cosine similarity of any sample.
        top1_agreement: share of samples with the same first class, 0 to 1; None where not exactly one class
            is true.
        samples: how many samples were compared.
        runtime: which runtime ran the variant.
        label_agreement: where several labels may be true, how far the same reach the threshold: the mean,
            over samples, of those that do for both divided by those that do for one of the two (the Jaccard
            index); else None.
        max_rel_beyond_noise: of an fp32 variant, as `max_rel`, but of each sample four times what the eager
            model itself is off there (`Golden.float32_noise`) is allowed for; None where that is not known.
    """

    max_abs: _Finite
    max_rel: _Finite
    cosine: _Finite
    top1_agreement: _Finite | None
    samples: int
    runtime: str
    label_agreement: _Finite | None = None
    max_rel_beyond_noise: _Finite | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far a variant may lie from the eager model.

    Attributes:
        max_rel: upper bound of `max_rel` of a parity or proof; of `max_rel_beyond_noise` where that is known.
        min_cosine: lower bound of `cosine`.
        min_top1_agreement: lower bound of `top1_agreement`.
        max_mean_rel: upper bound of `Proof.mean_rel`.
        min_top5_overlap: lower bound of `Proof.top5_overlap`.
        min_label_agreement: lower bound of `label_agreement`.
        photographs_only: judged on photographs and not on noise and extremes, which no picture gives and
            which say little about a low precision.
    """

    max_rel: _Share | None = None
    min_cosine: _Cosine | None = None
    min_top1_agreement: _Share | None = None
    max_mean_rel: _Share | None = None
    min_top5_overlap: _Share | None = None
    min_label_agreement: _Share | None = None
    photographs_only: bool = False


@dataclass(frozen=True)
class Proof:
    """How far a variant's outputs lie from fp32 on photographs: the golden ones, and those the user gave.

    Attributes:
        images: how many photographs.
        max_abs: largest absolute difference of any output element.
        mean_abs: mean absolute difference over all output elements.
        max_rel: largest absolute difference of any photograph, divided by the range of its fp32 outputs.
        mean_rel: the largest, over photographs, of the mean absolute difference divided by that range.
        cosine: smallest cosine similarity of any photograph.
        top1_agreement: share of photographs with the same first class, 0 to 1; None where not exactly one
            class is true.
        top5_overlap: mean share of the five highest classes that both have; None likewise.
        runtime: which runtime ran the variant.
        label_agreement: as in `Parity`.
    """

    images: int
    max_abs: _Finite
    mean_abs: _Finite
    max_rel: _Finite
    mean_rel: _Finite
    cosine: _Finite
    top1_agreement: _Finite | None
    top5_overlap: _Finite | None
    runtime: str
    label_agreement: _Finite | None = None


@dataclass(frozen=True)
class RecipeScore:
    """How close to fp32 one recipe of int8 came, on calibration images that were held out.

    Attributes:
        recipe: its name.
        error: mean of the images, by `Quantisation.measure`; 0 is exact. None where it was not tried.
        interval: of that at 95 %, the images drawn anew.
        top1_agreement: share of the images with the same highest output, 0 to 1; None where there is not one
            output with a value for each class.
        reason: why it was not tried.
    """

    recipe: str
    error: _Finite | None
    interval: tuple[_Finite, _Finite] | None = None
    top1_agreement: _Finite | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Quantisation:
    """How an int8 variant was made.

    Attributes:
        recipe: which recipe made it.
        method: how the ranges were found.
        images: how many images it was calibrated with.
        held_out: how many others the recipes were judged on; 0 where there was no race.
        measure: what the recipes were judged by: `kl`, the Kullback-Leibler divergence of the classes from
            those of fp32, in nats; or `squared`, |answer - fp32|^2 / |fp32 - its mean|^2.
        race: every recipe, the best first.
    """

    recipe: str
    method: str
    images: int
    held_out: int = 0
    measure: Literal["kl", "squared"] | None = None
    race: tuple[RecipeScore, ...] = ()


@dataclass(frozen=True)
class Accuracy:
    """How often the right class came first, and among the first five, on labelled images.

    Attributes:
        images: how many images.
        top1: share whose most probable class is the right one, 0 to 1.
        top5: share whose right class is among the five most probable, or among all where there are fewer.
        top1_interval: Wilson's 95 % interval of `top1`.
        top5_interval: the same of `top5`.
    """

    images: _Count
    top1: _Share
    top5: _Share
    top1_interval: tuple[_Share, _Share]
    top5_interval: tuple[_Share, _Share]
