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

_RUNNERS = {
    "onnxruntime": """\
import onnxruntime

options = onnxruntime.SessionOptions()
if not {exact}:  # without VNNI the fast 8-bit product saturates
    options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(str(DATA / {file!r}), options, providers=["CPUExecutionProvider"])


def run(feeds):
    return session.run(list(outputs), feeds)
""",
    "openvino": """\
import openvino

settings = {{"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": {exact}}}
compiled = openvino.Core().compile_model(str(DATA / {file!r}), "CPU", settings)


def run(feeds):
    answers = compiled(feeds)
    return [answers[name] for name in outputs]
""",
    "torchscript": """\
import torch

model = torch.jit.load(str(DATA / {file!r})).eval()
""",
    "pt2": """\
import torch

model = torch.export.load(DATA / {file!r}).module()
""",
    "aoti": """\
import torch

model = torch._inductor.aoti_load_package(str(DATA / {file!r}))
""",
}

_TORCH = """

def run(feeds):
    results = model(*(torch.from_numpy(array.copy()) for array in feeds.values()))
    results = (results,) if isinstance(results, torch.Tensor) else results
    return [result.detach().numpy() for result in results]
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


def code(
    runtime: str, file: str, signature: Signature, *, samples: str, reference: str, exact: bool = True
) -> str:
    """The lines that load a variant, run it and print how far it is off; `DATA` and `numpy` are there.

    Args:
        runtime: name of the runtime that failed, or `aoti`.
        file: the variant's, in `DATA`.
        signature: inputs and outputs.
        samples: file in `DATA` with inputs and what is expected, as `pinnace.models.bundle.golden` writes it.
        reference: whose answers are expected.
        exact: 8-bit products of this CPU do not saturate.
    """
    runner = _RUNNERS[runtime].format(file=file, exact=exact)
    batch = signature.batch
    kind = "any" if batch == BATCH else "none" if batch is None else "fixed"
    return (
        SAMPLES.format(file=samples, reference=reference)
        + "\n"
        + runner
        + ("" if "def run" in runner else _TORCH)
        + "\n"
        + _CALLS[kind].format(size=batch)
        + _COMPARE
    )
