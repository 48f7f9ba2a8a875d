"""Code that runs a variant on the samples on which it failed, with nothing but the runtime itself."""

from __future__ import annotations

from pinnace.models.bundle.signature import BATCH, Signature

SAMPLES = """\
with numpy.load(DATA / {file!r}) as file:
    arrays = dict(file)
inputs = {{name.removeprefix("input:"): arrays[name] for name in arrays if name.startswith("input:")}}
# What {reference} answers.
outputs = {{name.removeprefix("output:"): arrays[name] for name in arrays if name.startswith("output:")}}
"""

_CALLS = {
    "any": """
answers = run(inputs)
""",
    "fixed": """
# The model takes so many samples at a time: the last ones are repeated.
size = {size}
count = -(-len(next(iter(inputs.values()))) // size) * size
inputs, outputs = (
    {{name: numpy.resize(array, (count, *array.shape[1:])) for name, array in arrays.items()}}
    for arrays in (inputs, outputs)
)
calls = [
    run({{name: array[start : start + size] for name, array in inputs.items()}})
    for start in range(0, count, size)
]
answers = [numpy.concatenate(parts) for parts in zip(*calls, strict=True)]
""",
    "none": """
count = len(next(iter(inputs.values())))
calls = [run({{name: array[index] for name, array in inputs.items()}}) for index in range(count)]
answers = [numpy.stack(parts) for parts in zip(*calls, strict=True)]
""",
}

_COMPARE = """
for (name, expected), answer in zip(outputs.items(), answers, strict=True):
    print(name)
    for index, (want, got) in enumerate(zip(expected, answer, strict=True)):
        want, got = want.ravel().astype(float), got.ravel().astype(float)
        wrong = numpy.abs(got - want) / numpy.ptp(want)
        cosine = want @ got / numpy.linalg.norm(want) / numpy.linalg.norm(got)
        print(
            f"  sample {index}: off by {wrong.max():.3g} of the range, {wrong.mean():.3g} in the mean; "
            f"cosine {cosine:.6f}; highest {got.argmax()}, expected {want.argmax()}"
        )
"""


def code(runner: str, signature: Signature, *, samples: str, reference: str) -> str:
    """The lines that load a variant, run it and print how far it is off; `DATA` and `numpy` are there.

    Args:
        runner: lines that define `run`; see `Runtime.snippet`.
        signature: inputs and outputs.
        samples: file in `DATA` with inputs and what is expected, as `pinnace.models.bundle.golden` writes it.
        reference: whose answers are expected.
    """
    batch = signature.batch
    kind = "any" if batch == BATCH else "none" if batch is None else "fixed"
    return (
        SAMPLES.format(file=samples, reference=reference)
        + "\n"
        + runner
        + "\n"
        + _CALLS[kind].format(size=batch)
        + _COMPARE
    )
