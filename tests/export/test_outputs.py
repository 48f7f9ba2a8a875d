"""What an answer means: by option, by the graph's end, by the golden answers, or assumed; and always told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from pinnace.export.outputs import Answers, OutputOptions, decide, labels_for
from pinnace.export.worker.graph_end import GraphEnd
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import UsageError
from support.errors import refusal

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(10, 4)).astype(np.float32)
PROBABILITIES = scipy.special.softmax(LOGITS, axis=1)
SIGMOID = scipy.special.expit(LOGITS)
UNIT = LOGITS / np.linalg.norm(LOGITS, axis=1, keepdims=True)
LINEAR, SOFTMAX = GraphEnd("linear", "Gemm"), GraphEnd("softmax", "Softmax")
POOLED, UNKNOWN = GraphEnd("pooling", "ReduceMean"), GraphEnd("other", "Div")


def known(
    *values: np.ndarray, names: tuple[str, ...] = ("y", "z"), end: GraphEnd | None = None, **more: object
) -> Answers:
    """What is known of a model that answers with these."""
    named = dict(zip(names, values, strict=False))
    outputs = tuple(TensorSpec(n, str(v.dtype), ("batch", *v.shape[1:])) for n, v in named.items())
    signature = Signature((TensorSpec("x", "float32", ("batch", 3, 8, 8)),), outputs)
    ends = {} if end is None else dict.fromkeys(named, end)
    return Answers(signature, named, ends, **{"takes_image": True, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "outputs", "note"),
    [
        (known(LOGITS, end=LINEAR), Outputs("logits", "y", "softmax", 4), "--scores sigmoid"),
        (known(LOGITS), Outputs("logits", "y", "softmax", 4), "is assumed to be logits"),
        (
            known(PROBABILITIES, end=SOFTMAX),
            Outputs("probabilities", "y", "none", 4, evidence="graph"),
            "the graph ends in Softmax",
        ),
        (
            known(PROBABILITIES, end=UNKNOWN),
            Outputs("probabilities", "y", "none", 4, evidence="answers"),
            "all golden answers sum to 1",
        ),
        (
            known(np.round(PROBABILITIES, 2).astype(np.float32), end=SOFTMAX),
            Outputs("probabilities", "y", "none", 4, evidence="graph"),
            "the graph ends in Softmax",
        ),
        (
            known(np.log(PROBABILITIES), end=GraphEnd("log_softmax", "LogSoftmax")),
            Outputs("logits", "y", "softmax", 4, evidence="graph"),
            "the graph ends in LogSoftmax",
        ),
        (
            known(np.log(PROBABILITIES)),
            Outputs("logits", "y", "softmax", 4, evidence="answers"),
            "all golden answers are logarithms",
        ),
        (
            known(SIGMOID, end=GraphEnd("sigmoid", "Sigmoid")),
            Outputs("sigmoid", "y", "none", 4, threshold=0.5, evidence="graph"),
            "the graph ends in Sigmoid",
        ),
        (
            known(SIGMOID, end=UNKNOWN),
            Outputs("sigmoid", "y", "none", 4, threshold=0.5, evidence="answers"),
            "within 0 to 1 and do not sum to 1",
        ),
        # A linear layer whose answers happen to lie within 0 to 1 is none of the above.
        (known(SIGMOID, end=LINEAR), Outputs("logits", "y", "softmax", 4), "is assumed"),
        (
            known(LOGITS, end=POOLED),
            Outputs("embedding", "y", normalised=False, evidence="graph"),
            "an embedding of 4 numbers, not normalised",
        ),
        (
            known(UNIT, end=LINEAR),
            Outputs("embedding", "y", normalised=True, evidence="answers"),
            "an embedding of 4 numbers, of norm 1",
        ),
        (
            known(LOGITS, end=LINEAR, classes=0),
            Outputs("embedding", "y", normalised=False, evidence="graph"),
            "the network has no head",
        ),
        # Labels, or a number of classes, say that it is a classifier, whatever it ends in.
        (known(LOGITS, end=POOLED, labels=4), Outputs("logits", "y", "softmax", 4), "is assumed"),
        (
            known(LOGITS, end=POOLED, labels=2),
            Outputs("embedding", "y", normalised=False, evidence="graph"),
            "an embedding of 4 numbers",
        ),
        (
            known(LOGITS, end=POOLED, labels=2, own_labels=True),
            Outputs("logits", "y", "softmax", 4),
            "is assumed",
        ),
        (
            known(LOGITS, end=GraphEnd("pooled_convolution", "ReduceMean")),
            Outputs("logits", "y", "softmax", 4),
            "if it is an embedding, with --scores embedding",
        ),
        (known(LOGITS, end=POOLED, classes=4), Outputs("logits", "y", "softmax", 4), "is assumed"),
        (
            known(LOGITS[:, :, None, None], end=LINEAR),
            Outputs("logits", "y", "softmax", 4),
            "is assumed",
        ),
        (known(LOGITS[:, :1], end=LINEAR), Outputs("logits", "y", "sigmoid", 2), "two classes, 1 - p and p"),
        (known(LOGITS[:, 0], end=POOLED), Outputs("logits", "y", "sigmoid", 2), "two classes, 1 - p and p"),
        (
            known(SIGMOID[:, :1], end=GraphEnd("sigmoid", "Sigmoid")),
            Outputs("probabilities", "y", "none", 2, evidence="graph"),
            "the graph ends in Sigmoid",
        ),
        (
            known(LOGITS[:, :1], end=LINEAR, labels=1),
            Outputs("sigmoid", "y", "sigmoid", 1, threshold=0.5),
            "the logit that the label is true",
        ),
        (
            known(PROBABILITIES[:, 1], end=SOFTMAX),  # one column of a softmax
            Outputs("probabilities", "y", "none", 2, evidence="graph"),
            "the graph ends in Softmax: the one value of y is taken for the probability of the second of two",
        ),
        (
            known(np.ones((10, 1), np.float32), end=SOFTMAX),
            Outputs("tensors"),
            "over one value, which is always 1",
        ),
        (
            known(LOGITS, SIGMOID, names=("features", "logits"), end=LINEAR),
            Outputs("logits", "logits", "softmax", 4),
            "features=float32[batch,4], logits=float32[batch,4], logits is taken",
        ),
        (
            known(RNG.normal(size=(10, 5, 6)), LOGITS, end=LINEAR),
            Outputs("logits", "z", "softmax", 4),
            "z is taken",
        ),
        (
            known(RNG.normal(size=(10, 7)), LOGITS, end=LINEAR, labels=4),
            Outputs("logits", "z", "softmax", 4),
            "z is taken",
        ),
    ],
)
def test_what_is_found_is_told(answers: Answers, outputs: Outputs, note: str) -> None:
    found, notes = decide(answers, OutputOptions())
    assert found == outputs
    assert note in " ".join(notes)


@pytest.mark.parametrize(
    ("answers", "options", "outputs"),
    [
        (known(LOGITS), OutputOptions("sigmoid"), Outputs("sigmoid", "y", "sigmoid", 4, None, 0.5, "option")),
        (
            known(LOGITS),
            OutputOptions("sigmoid", threshold=0.3),
            Outputs("sigmoid", "y", "sigmoid", 4, None, 0.3, "option"),
        ),
        (
            known(PROBABILITIES),
            OutputOptions("softmax"),
            Outputs("logits", "y", "softmax", 4, evidence="option"),
        ),
        # Nothing is applied a second time to what the graph applies.
        (
            known(PROBABILITIES, end=SOFTMAX),
            OutputOptions("softmax"),
            Outputs("probabilities", "y", "none", 4, evidence="option"),
        ),
        (
            known(SIGMOID, end=GraphEnd("sigmoid", "Sigmoid")),
            OutputOptions("sigmoid"),
            Outputs("sigmoid", "y", "none", 4, None, 0.5, "option"),
        ),
        (known(SIGMOID), OutputOptions("none"), Outputs("sigmoid", "y", "none", 4, None, 0.5, "option")),
        (
            known(PROBABILITIES),
            OutputOptions("none"),
            Outputs("probabilities", "y", "none", 4, evidence="option"),
        ),
        (known(LOGITS), OutputOptions("tensors"), Outputs("tensors", evidence="option")),
        (
            known(LOGITS),
            OutputOptions("embedding"),
            Outputs("embedding", "y", normalised=False, evidence="option"),
        ),
        (
            known(LOGITS[:, :1]),
            OutputOptions("sigmoid"),
            Outputs("logits", "y", "sigmoid", 2, evidence="option"),
        ),
        (known(LOGITS, LOGITS), OutputOptions(output="z"), Outputs("logits", "z", "softmax", 4)),
    ],
)
def test_an_option_decides(answers: Answers, options: OutputOptions, outputs: Outputs) -> None:
    assert decide(answers, options)[0] == outputs


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        (
            known(LOGITS),
            OutputOptions("none"),
            "--scores none takes the output y for scores as it is, and its values are not within 0 to 1",
        ),
        (known(LOGITS[:, :1]), OutputOptions("softmax"), "--scores softmax: the output y=float32[batch,1]"),
        (
            known(LOGITS, LOGITS),
            OutputOptions("softmax"),
            "--scores softmax: the model has several outputs: y=float32[batch,4], z=float32[batch,4]",
        ),
        (
            known(LOGITS),
            OutputOptions(output="w"),
            "--output: the model has no output w\n  expected: y=float32[batch,4]\n"
            "  help: if that is to be the bundle's folder: -o w",
        ),
        (
            known(RNG.normal(size=(10, 5, 6))),
            OutputOptions(output="y"),
            "the output y is not one row of numbers for each image",
        ),
        (known(LOGITS), OutputOptions(threshold=0.4), "--threshold applies where several labels may be true"),
        (
            known(LOGITS, takes_image=False),
            OutputOptions("softmax"),
            "--scores and --output say what the answer to an image means, and the model takes no image",
        ),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    answers: Answers, options: OutputOptions, message: str
) -> None:
    assert refusal(UsageError, decide, answers, options).startswith(message)


RANKED = np.sort(PROBABILITIES, axis=1)[:, ::-1]
PLACES = np.argsort(PROBABILITIES, axis=1)[:, ::-1].astype(np.int64)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (known(RANKED[:, :2], PLACES[:, :2]), "the output y holds the highest values of an image"),
        (
            known(RANKED[:, :1], PLACES[:, :1], labels=4),
            "the output y holds the highest values of an image",
        ),
        (known(RANKED[:, 0], PLACES[:, 0]), "the output y holds the highest values of an image"),
        (known(RANKED, end=GraphEnd("other", "TopK")), "the output y holds the highest values of an image"),
        (known(RANKED[:, 0], end=GraphEnd("pooling", "ReduceMax")), "the output y holds the highest values"),
        (known(100 * PROBABILITIES), "the rows of the output y all sum to 100"),
        (
            known(np.tile(5 * PROBABILITIES[:1], (10, 1)), end=SOFTMAX),
            "the rows of the output y all sum to 5",
        ),
        (
            known(-np.log(PROBABILITIES), end=UNKNOWN),
            "the output y holds negative logarithms of probabilities",
        ),
    ],
)
def test_what_only_looks_like_scores_is_refused(answers: Answers, message: str) -> None:
    text = refusal(UsageError, decide, answers, OutputOptions())
    assert text.startswith(message)
    assert "--scores tensors keeps the outputs as they are" in text
    assert decide(answers, OutputOptions("tensors"))[0] == Outputs("tensors", evidence="option")


BEST = np.argmax(PROBABILITIES, axis=1)
ARGMAX = GraphEnd("other", "ArgMax", "probs:0")


@pytest.mark.parametrize("options", [OutputOptions(), OutputOptions(output="y"), OutputOptions("softmax")])
@pytest.mark.parametrize("values", [BEST, BEST[:, None], BEST[:, None].astype(np.int32)])
def test_the_number_of_the_best_class_is_refused(values: np.ndarray, options: OutputOptions) -> None:
    text = refusal(UsageError, decide, known(values, end=ARGMAX), options)
    assert text.startswith("the output y holds the number of the best class of an image, and not a value")
    assert "help: write the network without its argmax: the best is found afterwards; --scores" in text
    inner = refusal(UsageError, decide, known(values, end=ARGMAX, of_onnx=True), options)
    assert "help: --output probs:0 takes what that is made of; --scores tensors" in inner


def test_a_name_with_a_slash_is_no_folder() -> None:
    answers = known(BEST, end=GraphEnd("other", "ArgMax", "model/head"), of_onnx=True)
    assert "-o NAME.bundle --output model/head takes" in refusal(UsageError, decide, answers, OutputOptions())


@pytest.mark.parametrize(
    "answers",
    [
        known(np.argmax(RNG.random((10, 4, 6, 6)), axis=1), end=ARGMAX),
        known(BEST),
        known(BEST, end=UNKNOWN),
    ],
    ids=["a mask", "an end that is not seen", "another end"],
)
def test_whole_numbers_that_may_be_something_else_are_tensors(answers: Answers) -> None:
    assert decide(answers, OutputOptions()) == (Outputs("tensors"), ())


def test_scores_beside_the_best_class_are_taken() -> None:
    outputs, _ = decide(known(BEST, LOGITS, end=ARGMAX), OutputOptions())
    assert (outputs.meaning, outputs.name) == ("logits", "z")


@pytest.mark.parametrize(
    "values", [100 * PROBABILITIES, -np.log(PROBABILITIES), np.sort(PROBABILITIES, axis=1)[:, ::-1]]
)
def test_what_scores_are_made_of_is_named_where_it_can_be_taken(values: np.ndarray) -> None:
    end = GraphEnd("other", "TopK", "probs")
    text = refusal(UsageError, decide, known(values, end=end, of_onnx=True), OutputOptions())
    assert "help: --output probs takes what that is made of" in text


@pytest.mark.parametrize(
    "values",
    [
        np.abs(LOGITS),
        np.ones((10, 4), np.float32),
        np.zeros((10, 4), np.float32),
        0.98 * PROBABILITIES,
        LOGITS[:, 0],
    ],
    ids=["positive", "untrained", "zeros", "quantised", "one value"],
)
def test_what_may_be_scores_is_not_refused(values: np.ndarray) -> None:
    assert decide(known(values, end=LINEAR), OutputOptions())[0].is_classifier


def test_outputs_that_nothing_distinguishes_are_left_undecided() -> None:
    assert decide(known(LOGITS, LOGITS), OutputOptions()) == (Outputs("tensors"), ())


def test_labels_are_the_users_or_the_sources_or_indices() -> None:
    answers = known(LOGITS[:, :1], end=LINEAR)
    outputs, _ = decide(answers, OutputOptions())
    assert labels_for(outputs, answers.signature, ("cat", "dog"), None) == ("cat", "dog")
    assert labels_for(outputs, answers.signature, None, ("a", "b")) == ("a", "b")
    assert labels_for(outputs, answers.signature, None, ("a", "b", "c")) == ("0", "1")
    assert labels_for(Outputs("tensors"), answers.signature, None, ("a",)) is None
    assert refusal(UsageError, labels_for, outputs, answers.signature, ("a", "b", "c"), None) == (
        "--labels: their number is not the model's\n  expected: 2: one value is two classes\n  got: 3"
    )
