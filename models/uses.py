"""What a model can be used for, and where it cannot: why, and what to do."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs, width
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import BundleError, UsageError

Use: TypeAlias = Literal["classify", "embed", "serve"]

_WORDS = {"classify": "classify images", "embed": "embed images", "serve": "be served"}


def why_not(
    use: Use, name: str, signature: Signature, outputs: Outputs, *, takes_image: bool
) -> tuple[str, str] | None:
    """Why a model cannot be used like this, and what to do; None where it can.

    Args:
        use: what for; what can classify or embed can be served.
        name: the model's name.
        signature: its inputs and outputs.
        outputs: what its answer means.
        takes_image: it takes one image.
    """
    shapes = ", ".join(map(str, signature.outputs))
    if not takes_image:
        given = ", ".join(map(str, signature.inputs))
        if any(_may_be_an_image(spec) for spec in signature.inputs) and len(signature.inputs) > 1:
            return (
                f"{name} takes more than an image, so it cannot {_WORDS[use]}: {given}",
                "write the network so that its other inputs are constants in it, which some converters leave "
                "out; `pinnace verify` and `pinnace bench` work with it as it is",
            )
        if (
            len(signature.inputs) == 1
            and len(signature.inputs[0].shape) == 4
            and not _may_be_an_image(signature.inputs[0])
        ):
            return (
                f"{name} takes something else than an image of one or three channels, {given}, so it cannot "
                f"{_WORDS[use]}",
                "write the network with such an input, in which it makes the other channels itself; `pinnace "
                "verify` and `pinnace bench` work with it as it is",
            )
        return (
            f"{name} takes no image but {given}, so it cannot {_WORDS[use]}",
            "`pinnace verify` and `pinnace bench` work with it; open it in Python with "
            "pinnace.models.runtimes.open_bundle",
        )
    if outputs.meaning == "embedding":
        if use != "classify":
            return None
        values = width(output_spec(signature, outputs))
        return (
            f"{name} answers with an embedding of {values} numbers and not with scores of classes, so it "
            "cannot classify images",
            "use `pinnace embed` or POST /embed; if the numbers are scores of classes, export again with "
            "--scores softmax, or --scores sigmoid where several labels may be true",
        )
    if outputs.is_classifier:
        if use != "embed":
            return None
        return (
            f"{name} answers with scores of {outputs.classes} classes and not with an embedding, so it "
            "cannot embed images",
            "use `pinnace classify` or POST /classify; for an embedding, export the network without its last "
            "layer, or again with --scores embedding",
        )
    candidates = [spec.name for spec in signature.outputs if width(spec) is not None]
    if len(candidates) > 1:
        return (
            f"{name} has several outputs and nothing says which one is the answer, so it cannot "
            f"{_WORDS[use]}: {shapes}",
            f"export again with --output NAME, such as --output {candidates[0]}",
        )
    if candidates:
        return (
            f"{name} does not say what its output means, so it cannot {_WORDS[use]}: {shapes}",
            "export again with --scores softmax, sigmoid or none for a classifier, or --scores embedding",
        )
    return (
        f"{name} does not answer with one row of numbers for each image, so it cannot {_WORDS[use]}: "
        f"{shapes}",
        "a classifier answers with float32[batch,CLASSES]: export the network with the layers that make "
        "this of its output; `pinnace verify` and `pinnace bench` work with it as it is",
    )


def _may_be_an_image(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and any(dim in (1, 3) for dim in (spec.shape[1], spec.shape[3]))


def require(use: Use, bundle: Bundle) -> None:
    """Raise where a bundle cannot be used like this.

    Raises:
        UsageError: it cannot; the sentence says why, and the hint what to do.
    """
    manifest = bundle.manifest
    reason = why_not(
        use, bundle.name, manifest.signature, bundle.outputs, takes_image=manifest.preprocess is not None
    )
    if reason is not None:
        raise UsageError(reason[0], hint=reason[1])


def output_spec(signature: Signature, outputs: Outputs) -> TensorSpec:
    """The output that makes the answer.

    Raises:
        BundleError: the model has no such output.
    """
    for spec in signature.outputs:
        if spec.name == outputs.name:
            return spec
    raise BundleError(
        f"the manifest names an output that the model does not have: {outputs.name}",
        expected="one of " + ", ".join(signature.output_names),
        hint="export the model again",
    )
