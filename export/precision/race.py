"""The recipes of int8 race on calibration images that none of them has seen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from pinnace.export.precision import sensitivity
from pinnace.export.precision.base import AUTO, ConversionInput, Floats
from pinnace.export.precision.recipes import all_recipes
from pinnace.export.precision.recipes.base import CalibratedNetwork
from pinnace.models.bundle.measurements import Quantisation, RecipeScore
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

# Every fourth run of ten neighbours is held out, because neighbours in a folder often show the same scene; at
# most 64 images.
RUN = 10
_EVERY = 4
MOST_HELD_OUT = 64

# With fewer images than this nothing is held out and the first recipe is taken.
FEWEST = 80

# No recipe is begun once the race has taken so long. It is far above what it takes for the networks that were
# tried, because a race that ends earlier on a slower machine may end otherwise.
SECONDS = 600.0

_RESAMPLES = 1000

Measure: TypeAlias = Literal["kl", "squared"]
_WORDS: dict[Measure, str] = {"kl": "divergence of the classes", "squared": "relative squared error"}


def hold_out(material: ConversionInput) -> tuple[ConversionInput, Floats | None]:
    """Part the calibration images: what recipes may see, and what they are judged on.

    Returns:
        The material with the images that may be seen, and the others, or None where there is no race.
    """
    assert material.images is not None
    count = len(material.images)
    if material.recipe != AUTO or count < FEWEST:
        return material, None
    held = np.arange(count) // RUN % _EVERY == _EVERY - 1
    judged = material.images[held]
    if len(judged) > MOST_HELD_OUT:
        judged = judged[np.arange(MOST_HELD_OUT) * len(judged) // MOST_HELD_OUT]
    return dataclasses.replace(material, images=material.images[~held]), judged


def run(
    network: CalibratedNetwork, held_out: Floats | None, clock: Callable[[], float] = time.monotonic
) -> tuple[onnx.ModelProto, Quantisation]:
    """Make the graph with the recipe that was asked for, or with each of them, and keep the best.

    Args:
        network: what recipes start from.
        held_out: images to judge by; None where there is no race.
        clock: in seconds.
    """
    material, recipes = network.material, all_recipes()
    assert material.images is not None
    images = len(material.images)
    if held_out is None:
        recipe = recipes[next(iter(recipes)) if material.recipe == AUTO else material.recipe]
        made = recipe.make(network)
        if made is None:  # there is nothing in the network that the recipe could do
            recipe = next(iter(recipes.values()))
            made = recipe.make(network)
        assert made is not None
        return made, Quantisation(recipe.name, material.method, images)
    reference = sensitivity.answers(network.base, material.input, held_out)
    measure: Measure = "kl" if material.one_class else "squared"
    end = clock() + SECONDS
    best: tuple[float, onnx.ModelProto] | None = None
    scores: list[RecipeScore] = []
    for number, recipe in enumerate(recipes.values(), 1):
        material.progress(Event(Stage.RACE_RECIPES, done=number, total=len(recipes), detail=recipe.name))
        if best is not None and clock() > end:
            scores.append(RecipeScore(recipe.name, None, reason=f"{SECONDS:g} s were over"))
            continue
        model = recipe.make(network)
        if model is None:
            scores.append(RecipeScore(recipe.name, None, reason="there is nothing that it could change"))
            continue
        answers = sensitivity.answers(model, material.input, held_out)
        scores.append(score(recipe.name, reference, answers, measure))
        error = scores[-1].error
        assert error is not None
        if best is None or error < best[0]:
            best = error, model
    assert best is not None
    scores.sort(key=lambda each: np.inf if each.error is None else each.error)
    winner = scores[0].recipe
    return best[1], Quantisation(winner, material.method, images, len(held_out), measure, tuple(scores))


def score(name: str, reference: Floats, answers: Floats, measure: Measure) -> RecipeScore:
    """How close answers are to the reference; both of shape (images, outputs)."""
    errors = (divergences if measure == "kl" else sensitivity.relative_errors)(reference, answers)
    drawn = np.random.default_rng(0).integers(0, len(errors), (_RESAMPLES, len(errors)))
    low, high = np.percentile(errors[drawn].mean(axis=1), (2.5, 97.5))
    same = float((reference.argmax(axis=1) == answers.argmax(axis=1)).mean())
    largest = float(np.finfo(np.float32).max)
    error, low, high = (min(float(value), largest) for value in (errors.mean(), low, high))
    return RecipeScore(name, error, (low, high), same if reference.shape[1] > 1 else None)


def divergences(reference: Floats, answers: Floats) -> Floats:
    """Of each image, the Kullback-Leibler divergence of the softmax of answers from that of the reference."""
    wanted, found = (logits - _log_sum(logits) for logits in (reference, answers))
    divergence: Floats = np.nan_to_num((np.exp(wanted) * (wanted - found)).sum(axis=1), nan=np.inf)
    return divergence


def _log_sum(logits: Floats) -> Floats:
    """log(sum(exp(logits))) of each row, as a column."""
    largest = logits.max(axis=1, keepdims=True)
    total: Floats = largest + np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    return total


def note(name: str, quantisation: Quantisation) -> str:
    """What is said of a race."""
    first, *others = quantisation.race
    assert first.error is not None
    assert first.interval is not None
    words = (
        f"{name} was made by the recipe {first.recipe}, which came closest to fp32 on "
        f"{quantisation.held_out} images that were held out: {_WORDS[quantisation.measure or 'squared']} "
        f"{first.error:.5f} ({first.interval[0]:.5f} to {first.interval[1]:.5f})"
    )
    if first.top1_agreement is not None:
        words += f", {first.top1_agreement:.1%} of the first classes"
    return words + "; " + ", ".join(map(_loser, others)) if others else words


def _loser(score: RecipeScore) -> str:
    if score.error is None:
        return f"{score.recipe} was not tried ({score.reason})"
    same = "" if score.top1_agreement is None else f", {score.top1_agreement:.1%}"
    return f"{score.recipe} {score.error:.5f}{same}"
