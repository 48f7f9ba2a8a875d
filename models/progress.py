"""How far something is: one type, from the export's child interpreter to the bar on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Stage(str, Enum):
    """What is being done. The value is what stands in data, `words` is what people read."""

    LOAD = "load"
    RUN_MODEL = "run_model"
    WRITE = "write"
    PREPARE_IMAGES = "prepare_images"
    MEASURE_FLOAT16 = "measure_float16"
    PREPARE_GRAPH = "prepare_graph"
    CALIBRATE = "calibrate"
    FIND_RANGES = "find_ranges"
    ROUND_WEIGHTS = "round_weights"
    FIND_SENSITIVE = "find_sensitive"
    RACE_RECIPES = "race_recipes"
    RUN_REFERENCE = "run_reference"
    CHECK_FILES = "check_files"
    COMPARE = "compare"
    FIND_DIVERGENCE = "find_divergence"
    EVALUATE = "evaluate"
    BUILD = "build"
    MEASURE = "measure"
    PULL = "pull"
    PUSH = "push"

    @property
    def words(self) -> str:
        """The stage as people read it."""
        return _WORDS[self]


_WORDS = {
    Stage.LOAD: "loading the model",
    Stage.RUN_MODEL: "running the model on the golden inputs",
    Stage.WRITE: "writing",
    Stage.PREPARE_IMAGES: "preparing images",
    Stage.MEASURE_FLOAT16: "measuring what float16 can hold",
    Stage.PREPARE_GRAPH: "preparing the graph for int8",
    Stage.CALIBRATE: "calibrating with images",
    Stage.FIND_RANGES: "finding ranges",
    Stage.ROUND_WEIGHTS: "rounding the weights of layers",
    Stage.FIND_SENSITIVE: "finding what int8 should leave out",
    Stage.RACE_RECIPES: "racing the recipes of int8",
    Stage.RUN_REFERENCE: "running fp32 on photographs",
    Stage.CHECK_FILES: "checking hashes and preprocessing",
    Stage.COMPARE: "comparing",
    Stage.FIND_DIVERGENCE: "looking for the node that differs from fp32",
    Stage.EVALUATE: "evaluating images",
    Stage.BUILD: "building",
    Stage.MEASURE: "measuring",
    Stage.PULL: "pulling",
    Stage.PUSH: "pushing",
}


@dataclass(frozen=True)
class Event:
    """Something begins, or has come further.

    Attributes:
        stage: what is being done.
        variant: to which variant, where it is one.
        runtime: in which runtime, where it is one.
        done: how much is done, in the unit of the stage: images, layers, attempts; of `MEASURE` seconds.
        total: how much there is; 0 where that is not known.
        detail: what else a person should see, such as TensorRT's name of a phase. It is shown, never parsed.
    """

    stage: Stage
    variant: str = ""
    runtime: str = ""
    done: float = 0
    total: float = 0
    detail: str = ""

    @property
    def activity(self) -> Event:
        """The event without how far it is: two events of the same activity show the same thing further on."""
        return Event(self.stage, self.variant, self.runtime, detail=self.detail)

    def __str__(self) -> str:
        words = " ".join(filter(None, (self.stage.words, self.variant)))
        words += f" in {self.runtime}" if self.runtime else ""
        words += f" ({self.detail})" if self.detail else ""
        counted = self.done and self.total and self.stage is not Stage.MEASURE
        return f"{words}, {self.done:g} of {self.total:g}" if counted else words


# Whoever wants to know is called with each event, in the thread where it happens.
Progress: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The progress that nobody watches."""
