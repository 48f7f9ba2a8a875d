"""Why a model cannot be used for something, and what to do."""

from __future__ import annotations

from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.uses import why_not

OUTPUTS = (TensorSpec("y", "float32", ("batch", 4)),)


def test_an_image_and_something_else() -> None:
    """As converters write it that lose the constants of a normalisation."""
    image, mean = TensorSpec("x", "float32", ("n", 64, 64, 3)), TensorSpec("mean", "float32", (3,))
    found = why_not("serve", "net", Signature((image, mean), OUTPUTS), Outputs("tensors"), takes_image=False)
    assert found is not None
    assert found[0] == "net takes more than an image, so it cannot be served: " + f"{image}, {mean}"
    assert found[1].startswith("write the network so that its other inputs are constants in it")


def test_four_channels() -> None:
    four = TensorSpec("x", "float32", ("batch", 4, 8, 8))
    found = why_not("serve", "net", Signature((four,), OUTPUTS), Outputs("tensors"), takes_image=False)
    assert found is not None
    assert found[0] == (
        f"net takes something else than an image of one or three channels, {four}, so it cannot be served"
    )
    assert found[1].startswith("write the network with such an input, in which it makes the other channels")


def test_no_image() -> None:
    numbers = TensorSpec("x", "float32", ("batch", 8))
    found = why_not("serve", "net", Signature((numbers,), OUTPUTS), Outputs("tensors"), takes_image=False)
    assert found is not None
    assert found[0] == "net takes no image but x=float32[batch,8], so it cannot be served"
