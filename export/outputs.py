"""Decides what a model's answer means: from options, the end of the graph, and the golden answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from pinnace.export.no_scores import no_scores, number_of_a_class
from pinnace.export.request import GraphEnd
from pinnace.models.bundle.outputs import (
    DEFAULT_THRESHOLD,
    Evidence,
    Outputs,
    check_threshold,
    rows,
    sum_to_one,
    unit_norm,
    width,
    within_unit,
)
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.labels import plain
from pinnace.models.uses import output_spec

Scores: TypeAlias = Literal["softmax", "sigmoid", "none", "embedding", "tensors"]

# What exporters call the output that people mean, where there are several.
_SCORES_NAMES = ("logits", "probabilities", "probs", "output_probability", "scores")
_EMBEDDING_NAMES = ("image_embeds", "pooler_output", "embedding", "embeddings", "image_features", "features")

_HEADLESS = ("pooling", "normalisation", "activation")

# How far the sum of a row of a quantised softmax may lie from 1.
_QUANTISED_SUM = 0.1

_SEVERAL = "where several labels may be true at once (trained with BCE), export with --scores sigmoid"
ASSUMED_LOGITS = (
    "the output {} is assumed to be logits of which one class is true, so softmax makes probabilities of it; "
    + _SEVERAL
)
_OR_EMBEDDING = "; if it is an embedding, with --scores embedding"
_NOT_CLASSES = "if they are scores of classes, export with --scores softmax or sigmoid"


@dataclass(frozen=True)
class OutputOptions:
    """What the user says of the outputs.

    Attributes:
        scores: what makes scores of the output: `softmax`, `sigmoid` or `none`; or that it is an `embedding`
            or
            `tensors`. None where it is to be found out.
        output: the name of the output that is meant.
        threshold: from which score on a label counts as true, where several may be.
    """

    scores: Scores | None = None
    output: str | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.scores is not None and self.scores not in get_args(Scores):
            raise UsageError(
                f"--scores {self.scores} is not known",
                expected="one of " + ", ".join(get_args(Scores)),
                got=self.scores,
            )
        if self.threshold is not None:
            check_threshold(self.threshold)


@dataclass(frozen=True)
class Answers:
    """What is known of a model's answers.

    Attributes:
        signature: inputs and outputs.
        golden: the golden outputs by name; first dimension the sample.
        ends: what computes each output, by name, where that can be seen.
        takes_image: it takes one image.
        labels: how many class names there are, or None.
        own_labels: the user gave them, and so says that there are classes.
        of_onnx: the source is an ONNX file, any tensor of which may be the output.
        classes: how many classes the network says that it has, 0 for a network without its head, or None.
    """

    signature: Signature
    golden: Mapping[str, npt.NDArray[np.generic]]
    ends: Mapping[str, GraphEnd]
    takes_image: bool
    labels: int | None = None
    classes: int | None = None
    own_labels: bool = False
    of_onnx: bool = False

    def inner(self, name: str) -> str | None:
        """The tensor that an output is computed from, where the export could take that in its place."""
        end = self.ends.get(name)
        return end.reads if self.of_onnx and end is not None else None


def decide(known: Answers, options: OutputOptions) -> tuple[Outputs, tuple[str, ...]]:
    """What a model's answer means, and sentences that say how that is known or what is assumed.

    Raises:
        UsageError: an option does not fit the model.
    """
    if not known.takes_image:
        if options.output is not None or options.scores not in (None, "tensors"):
            raise UsageError(
                "--scores and --output say what the answer to an image means, and the model takes no image",
                got=", ".join(map(str, known.signature.inputs)),
                hint="leave them out",
            )
        return Outputs("tensors"), ()
    if options.scores == "tensors":
        return Outputs("tensors", evidence="option"), ()
    spec, notes = _chosen(known, options)
    if spec is None:
        for each in known.signature.outputs:
            _require_scores(known, each)
        return Outputs("tensors"), notes
    asked = options.scores is not None
    if not asked and (
        unfit := no_scores(
            rows(known.golden[spec.name]), spec, known.signature, known.ends, known.inner(spec.name)
        )
    ):
        raise unfit
    outputs, note = (_asked if asked else _found)(known, spec, options)
    if outputs.several_labels and options.threshold is not None:
        outputs = outputs.with_threshold(options.threshold)
    elif options.threshold is not None:
        raise UsageError(
            "--threshold applies where several labels may be true, and this model is taken for one of which "
            "one class is true"
            if outputs.is_classifier
            else "--threshold applies to scores of labels",
            hint="add --scores sigmoid, or leave --threshold out",
        )
    return outputs, (*notes, *([note] if note else []))


def _chosen(known: Answers, options: OutputOptions) -> tuple[TensorSpec | None, tuple[str, ...]]:
    """The output that is meant, or None where that cannot be decided; with a sentence about the choice."""
    specs = known.signature.outputs
    listed = ", ".join(map(str, specs))
    if options.output is not None:
        for spec in specs:
            if spec.name == options.output:
                return _row(known, spec), ()
        raise UsageError(
            f"--output: the model has no output {options.output}",
            expected=listed,
            hint=f"if that is to be the bundle's folder: -o {options.output}"
            + ("; a tensor inside the file may be taken, but there is none of this name" * known.of_onnx),
        )
    candidates = [spec for spec in specs if width(spec) is not None]
    if len(specs) == 1 or not candidates:
        if options.scores is not None and not candidates:
            _row(known, specs[0])
        return (candidates[0] if candidates else None), ()
    for names in (_SCORES_NAMES, _EMBEDDING_NAMES):
        named = [spec for name in names for spec in candidates if spec.name == name]
        if named:
            return named[0], (f"of the outputs {listed}, {named[0].name} is taken; --output chooses another",)
    fitting = [spec for spec in candidates if known.labels is not None and width(spec) == known.labels]
    for few in (candidates, fitting):
        if len(few) == 1:
            return few[0], (f"of the outputs {listed}, {few[0].name} is taken; --output chooses another",)
    if options.scores is not None:
        raise UsageError(
            f"--scores {options.scores}: the model has several outputs: {listed}",
            hint=f"say which one with --output NAME, such as --output {candidates[0].name}",
        )
    return None, ()


def _require_scores(known: Answers, spec: TensorSpec) -> None:
    end = known.ends.get(spec.name)
    if unfit := number_of_a_class(spec, end, known.inner(spec.name)):
        raise unfit


def _row(known: Answers, spec: TensorSpec) -> TensorSpec:
    if width(spec) is None:
        _require_scores(known, spec)
        raise UsageError(
            f"the output {spec.name} is not one row of numbers for each image",
            expected=f"{spec.name}=float32[batch,CLASSES]",
            got=str(spec),
        )
    return spec


def _asked(known: Answers, spec: TensorSpec, options: OutputOptions) -> tuple[Outputs, str]:
    """What the user says, but that nothing is applied a second time to what the graph applies already."""
    name, values = spec.name, rows(known.golden[spec.name])
    end = known.ends.get(name)
    count = values.shape[1]
    unit = within_unit(values)
    if options.scores == "embedding":
        return _embedding(name, values, "option"), ""
    if options.scores == "softmax":
        if count == 1:
            raise UsageError(
                f"--scores softmax: the output {spec} is one value, of which softmax makes 1 always",
                hint="--scores sigmoid takes it as the logit of the second of two classes",
            )
        if end is not None and end.kind == "softmax" and sum_to_one(values):
            note = f"the graph ends in {end.op} already, so softmax is not applied to {name} again"
            return Outputs("probabilities", name, "none", count, evidence="option"), note
        return Outputs("logits", name, "softmax", count, evidence="option"), ""
    if options.scores == "none" and not unit:
        low, high = float(np.min(values)), float(np.max(values))
        raise UsageError(
            f"--scores none takes the output {name} for scores as it is, and its values are not within 0 "
            "to 1",
            expected="0 to 1",
            got=f"{low:.4g} to {high:.4g}",
            hint="--scores softmax or --scores sigmoid makes scores of it; --scores embedding takes it as an "
            "embedding",
        )
    done = options.scores == "none" or (end is not None and end.kind == "sigmoid" and unit)
    note = ""
    if done and options.scores == "sigmoid" and end is not None:
        note = f"the graph ends in {end.op} already, so sigmoid is not applied to {name} again"
    function: Literal["none", "sigmoid"] = "none" if done else "sigmoid"
    if count == 1 and known.labels != 1:
        meaning: Literal["probabilities", "logits"] = "probabilities" if done else "logits"
        return Outputs(meaning, name, function, 2, evidence="option"), note
    if options.scores == "none" and sum_to_one(values):
        return Outputs("probabilities", name, "none", count, evidence="option"), note
    return _several(name, function, count, "option"), note


def _found(known: Answers, spec: TensorSpec, options: OutputOptions) -> tuple[Outputs, str]:
    """What can be seen, and what has to be assumed."""
    name, values = spec.name, rows(known.golden[spec.name])
    end = known.ends.get(name)
    kind = None if end is None else end.kind
    op = "" if end is None else end.op
    count = values.shape[1]
    if count == 1:
        return _one_value(known, name, values, end)
    if sum_to_one(values) or (kind == "softmax" and _about_one(values)):
        seen = f"the graph ends in {op}" if kind == "softmax" else "all golden answers sum to 1"
        evidence: Evidence = "graph" if kind == "softmax" else "answers"
        return (
            Outputs("probabilities", name, "none", count, evidence=evidence),
            f"{seen}: the output {name} is taken for probabilities as it is (--scores says otherwise)",
        )
    if kind == "log_softmax" or _are_logarithms(values):
        seen = f"the graph ends in {op}" if kind == "log_softmax" else "all golden answers are logarithms"
        return (
            Outputs(
                "logits", name, "softmax", count, evidence="graph" if kind == "log_softmax" else "answers"
            ),
            f"{seen}: softmax makes of the output {name} the probabilities that it is the logarithms of",
        )
    if kind == "sigmoid" and within_unit(values):
        return (
            _several(name, "none", count, "graph"),
            f"the graph ends in {op}: the output {name} is taken for scores as it is, and several labels "
            "may be true at once (--scores says otherwise)",
        )
    # Of a source's own labels only the right number counts: some name two classes where there are none.
    intended = known.own_labels or count in (known.labels, known.classes)
    if not intended:
        if known.classes == 0:
            return _embedding(name, values, "graph"), _embedding_note(name, values, "the network has no head")
        if unit_norm(values) and not within_unit(values):
            return _embedding(name, values, "answers"), _embedding_note(name, values, "all of norm 1")
        if name in _EMBEDDING_NAMES:
            return _embedding(name, values, "name"), _embedding_note(name, values, "named so")
        if kind in _HEADLESS:
            seen = f"the graph ends in {op} and not in a linear layer"
            return _embedding(name, values, "graph"), _embedding_note(name, values, seen)
    if within_unit(values) and kind in (None, "other"):
        return (
            _several(name, "none", count, "answers"),
            f"all golden answers are within 0 to 1 and do not sum to 1: the output {name} is taken for "
            "scores as it is, and several labels may be true at once (--scores softmax says otherwise)",
        )
    return (
        Outputs("logits", name, "softmax", count),
        ASSUMED_LOGITS.format(name) + (_OR_EMBEDDING if kind == "pooled_convolution" else ""),
    )


def _one_value(
    known: Answers, name: str, values: npt.NDArray[np.generic], end: GraphEnd | None
) -> tuple[Outputs, str]:
    """One value is the logit or the probability of the second of two classes; or the score of one label."""
    kind = None if end is None else end.kind
    unit = within_unit(values)
    done = unit and kind in ("sigmoid", "softmax", "other", None)
    seen = (
        f"the graph ends in {end.op}" if done and end is not None and kind in ("sigmoid", "softmax") else ""
    )
    evidence: Evidence = "graph" if seen else "answers" if done else "assumed"
    what = "probability" if done else "logit"
    if kind == "softmax" and np.allclose(np.asarray(values, np.float64), 1):
        return Outputs("tensors"), (
            f"the graph ends in {end.op if end else 'Softmax'} over one value, which is always 1: the "
            "model cannot tell anything apart; export it without that layer"
        )
    if known.labels == 1:
        return (
            _several(name, "none" if done else "sigmoid", 1, evidence),
            f"{seen + ': ' if seen else ''}the one value of {name} is taken for the {what} that the label "
            "is true",
        )
    return (
        Outputs(
            "probabilities" if done else "logits", name, "none" if done else "sigmoid", 2, evidence=evidence
        ),
        f"{seen + ': ' if seen else ''}the one value of {name} is taken for the {what} of the second of two "
        f"classes, 1 - p and p{'' if done else ' (sigmoid)'}; if it is something else, export with "
        "--scores tensors",
    )


def _several(name: str, function: Literal["none", "sigmoid"], count: int, evidence: Evidence) -> Outputs:
    return Outputs("sigmoid", name, function, count, threshold=DEFAULT_THRESHOLD, evidence=evidence)


def _embedding(name: str, values: npt.NDArray[np.generic], evidence: Evidence) -> Outputs:
    return Outputs("embedding", name, normalised=unit_norm(values), evidence=evidence)


def _embedding_note(name: str, values: npt.NDArray[np.generic], seen: str) -> str:
    normalised = "of norm 1" if unit_norm(values) else "not normalised"
    return (
        f"the output {name} is taken for an embedding of {values.shape[1]} numbers, {normalised} ({seen}); "
        f"{_NOT_CLASSES}"
    )


def _about_one(values: npt.NDArray[np.generic]) -> bool:
    sums = np.asarray(values, np.float64).sum(axis=1)
    return within_unit(values) and bool((np.abs(sums - 1) <= _QUANTISED_SUM).all())


def _are_logarithms(values: npt.NDArray[np.generic]) -> bool:
    """Whether the exponentials of every row sum to 1."""
    array = np.asarray(values, np.float64)
    return bool((array <= 1e-6).all()) and sum_to_one(np.exp(array))


def labels_for(
    outputs: Outputs, signature: Signature, own: Sequence[str] | None, given: Sequence[str] | None
) -> tuple[str, ...] | None:
    """The user's labels, else the source's where their number is right, else the indices.

    None where the model is not a classifier.

    Args:
        outputs: what the answer means.
        signature: inputs and outputs.
        own: the user's labels.
        given: the source's.

    Raises:
        UsageError: the number of the user's labels is not the model's.
    """
    if outputs.classes is None:
        return None
    if own is not None:
        if len(own) != outputs.classes:
            one = width(output_spec(signature, outputs)) == 1
            raise UsageError(
                "--labels: their number is not the model's",
                expected=f"{outputs.classes}" + (": one value is two classes" if one else ""),
                got=str(len(own)),
            )
        return tuple(own)
    if given is not None and len(given) == outputs.classes:
        return tuple(plain(name) for name in given)
    return tuple(map(str, range(outputs.classes)))
