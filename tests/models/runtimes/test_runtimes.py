"""One contract for every runtime: a new file in `models/runtimes` is held to it at once."""

from __future__ import annotations

import ast
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from pinnace.models import runtimes
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import BundleError, CheckFailed, MissingDependency, UsageError
from pinnace.models.install import install_line
from pinnace.models.runtimes import all_runtimes, openvino, runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions
from pinnace.models.selection import open_bundle, open_variant
from support.errors import refusal

Open = Callable[..., Runtime]
SPEC = "input=float32[batch,3,16,16]"


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("kind", all_runtimes().values(), ids=lambda runtime: runtime.name)
def test_a_runtime_works_here_or_says_why_not(kind: type[Runtime]) -> None:
    if (problem := kind.unavailable_reason()) is not None:
        pytest.skip(f"{kind.name}: {problem}")


@pytest.fixture(
    params=[runtime for runtime in all_runtimes().values() if runtime.unavailable_reason() is None],
    ids=lambda runtime: runtime.name,
)
def kind(request: pytest.FixtureRequest, exported: Bundle) -> type[Runtime]:
    """Every runtime that works here and reads something that the tiny network was exported to."""
    runtime: type[Runtime] = request.param
    if not any(variant.format in runtime.formats for variant in exported.manifest.variants):
        pytest.skip(f"{runtime.name} reads {', '.join(runtime.formats)}, which cannot be exported here")
    return runtime


@pytest.fixture
def file(kind: type[Runtime], exported: Bundle) -> Path:
    """The tiny network in a format that the runtime reads."""
    (first, *_) = [v for v in exported.manifest.variants if v.format in kind.formats]
    return exported.path(first.file)


@pytest.fixture
def runtime(kind: type[Runtime], file: Path, exported: Bundle):
    with kind(file, exported.manifest.signature, RuntimeOptions(threads=2)) as opened:
        yield opened


def test_a_runtime_says_what_it_is(kind: type[Runtime]) -> None:
    assert kind.name == kind.name.lower()
    assert kind.version()[0].isdecimal()
    assert " install " in kind.how_to_install()
    assert kind in runtimes_for(kind.formats[0])


def test_an_open_runtime_reports_what_runs(runtime: Runtime, exported: Bundle) -> None:
    assert runtime.signature == exported.manifest.signature
    assert runtime.threads == 2
    assert "cpu" in runtime.provider.lower()


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_outputs_equal_those_of_the_eager_network(
    runtime: Runtime, tiny: torch.nn.Module, batch: int
) -> None:
    inputs = images(batch)
    outputs = runtime.run({"input": inputs})
    assert list(outputs) == ["logits"]
    assert outputs["logits"].dtype == np.float32
    rtol, atol = (0, 1e-2) if runtime.opt_in else (1e-4, 1e-5)
    np.testing.assert_allclose(
        outputs["logits"], tiny(torch.from_numpy(inputs)).numpy(), rtol=rtol, atol=atol
    )


def test_memory_order_and_write_protection_of_an_input_do_not_matter(runtime: Runtime) -> None:
    inputs = images(3)
    want = runtime.run({"input": inputs})["logits"]
    channels_last = inputs.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    every_second = np.repeat(inputs, 2, axis=0)[::2]
    protected = inputs.copy()
    protected.flags.writeable = False
    for same in (channels_last, every_second, protected):
        np.testing.assert_array_equal(runtime.run({"input": same})["logits"], want)


def test_outputs_belong_to_the_caller(runtime: Runtime) -> None:
    first = runtime.run({"input": images(2, seed=1)})["logits"]
    kept = first.copy()
    runtime.run({"input": images(2, seed=2)})
    np.testing.assert_array_equal(first, kept)
    first[...] = 7
    np.testing.assert_array_equal(runtime.run({"input": images(2, seed=1)})["logits"], kept)


def test_outputs_outlive_the_runtime(kind: type[Runtime], file: Path, exported: Bundle) -> None:
    with kind(file, exported.manifest.signature, RuntimeOptions()) as opened:
        logits = opened.run({"input": images(2)})["logits"]
        kept = logits.copy()
    np.testing.assert_array_equal(logits, kept)


def test_an_input_is_left_as_it_was(runtime: Runtime) -> None:
    inputs = images(2)
    runtime.run({"input": inputs})
    np.testing.assert_array_equal(inputs, images(2))


def test_a_missing_input(runtime: Runtime) -> None:
    assert refusal(UsageError, lambda: runtime.run({})) == (
        f"the model's input input is missing\n  expected: {SPEC}\n  got: nothing"
    )
    assert refusal(UsageError, lambda: runtime.run({"image": images(1), "x": images(1)})) == (
        f"the model's input input is missing\n  expected: {SPEC}\n  got: image, x"
    )


def test_an_unknown_input(runtime: Runtime) -> None:
    feeds = {"input": images(1), "image": images(1)}
    assert refusal(UsageError, lambda: runtime.run(feeds)) == (
        f"the model has no input image\n  expected: {SPEC}"
    )


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((1, 3, 16, 16)), "float64[1,3,16,16]"),
        (np.zeros((1, 3, 16, 16), np.uint8), "uint8[1,3,16,16]"),
        (np.zeros((1, 3, 16, 16), ">f4"), ">f4[1,3,16,16]"),
        (np.zeros((3, 16, 16), np.float32), "float32[3,16,16]"),
        (np.zeros((1, 1, 16, 16), np.float32), "float32[1,1,16,16]"),
        (np.zeros((1, 3, 17, 16), np.float32), "float32[1,3,17,16]"),
        (np.float32(0), "float32[]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_dtype_or_shape(runtime: Runtime, array: np.ndarray, got: str) -> None:
    assert refusal(UsageError, lambda: runtime.run({"input": array})) == (
        f"the model's input input has the wrong dtype or shape\n  expected: {SPEC}\n  got: {got}"
    )


def seconds_by_thread() -> dict[int, float]:
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}


def test_one_thread_does_all_the_work_where_one_was_asked_for(
    kind: type[Runtime], file: Path, exported: Bundle
) -> None:
    batch = images(4096)
    with kind(file, exported.manifest.signature, RuntimeOptions(threads=1)) as opened:
        assert opened.threads == 1
        opened.run({"input": batch})
        before, until = seconds_by_thread(), time.process_time() + 0.5
        while time.process_time() < until:
            opened.run({"input": batch})
        after = seconds_by_thread()
    spent = sorted(seconds - before.get(thread, 0) for thread, seconds in after.items())
    assert spent[-1] > 0.8 * sum(spent)


def test_a_second_runtime_does_not_change_the_threads_of_the_first(
    kind: type[Runtime], file: Path, exported: Bundle
) -> None:
    with kind(file, exported.manifest.signature, RuntimeOptions(threads=1)) as one:
        want = one.run({"input": images(3)})["logits"]
        with kind(file, exported.manifest.signature, RuntimeOptions(threads=2)) as two:
            two.run({"input": images(3)})
        np.testing.assert_array_equal(one.run({"input": images(3)})["logits"], want)
        assert one.threads == 1


def test_closing_twice_does_nothing(kind: type[Runtime], file: Path, exported: Bundle) -> None:
    opened = kind(file, exported.manifest.signature, RuntimeOptions())
    opened.close()
    opened.close()


def test_a_runtime_is_closed_when_its_block_fails(
    kind: type[Runtime], file: Path, exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = kind.close
    monkeypatch.setattr(kind, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(ZeroDivisionError), kind(file, exported.manifest.signature, RuntimeOptions()):
        _ = 1 / 0
    assert len(closed) == 1


@pytest.mark.parametrize("damage", ["cut short", "empty", "noise", "missing", "a folder"])
def test_a_file_that_cannot_be_loaded(
    kind: type[Runtime], file: Path, exported: Bundle, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / f"damaged{file.suffix}"
    data = {
        "cut short": file.read_bytes()[: file.stat().st_size // 2],
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(4000),
    }
    if damage in data:
        path.write_bytes(data[damage])
    elif damage == "a folder":
        path.mkdir()
    message = refusal(BundleError, lambda: kind(path, exported.manifest.signature, RuntimeOptions()))
    assert f"cannot load {path}: " in message
    assert len(message.splitlines()) == 1


def test_a_file_of_another_model_is_refused(kind: type[Runtime], file: Path, exported: Bundle) -> None:
    signature = exported.manifest.signature
    other = dataclasses.replace(signature.inputs[0], shape=("batch", 3, 20, 20))
    more = (*signature.outputs, dataclasses.replace(signature.outputs[0], name="embedding"))

    def run_with(**changes: object) -> None:
        wrong = dataclasses.replace(signature, **changes)  # type: ignore[arg-type]
        with kind(file, wrong, RuntimeOptions()) as opened:
            opened.run({spec.name: np.zeros(spec.with_batch(1), spec.dtype) for spec in wrong.inputs})

    for changes in ({"outputs": more}, {"inputs": (other, dataclasses.replace(other, name="more"))}):
        message = refusal(BundleError, lambda changes=changes: run_with(**changes))
        assert f"cannot run {file}: " in message or f"cannot load {file}: " in message
        assert len(message.splitlines()) == 1


def test_cuda_is_never_replaced_by_the_cpu_in_silence(
    kind: type[Runtime], file: Path, exported: Bundle
) -> None:
    provider = message = ""
    try:
        with kind(file, exported.manifest.signature, RuntimeOptions(device="cuda")) as opened:
            provider = opened.provider.lower()
    except UsageError as error:
        message = str(error).lower()
    assert "cuda" in message or (provider and "cpu" not in provider)


def test_onnxruntime_without_its_cuda_provider(exported: Bundle) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" in available:
        pytest.skip("this onnxruntime has the CUDA provider")
    variant = exported.variant("onnx-fp32")
    options = RuntimeOptions(device="cuda")
    assert refusal(UsageError, lambda: open_variant(exported, variant, "onnxruntime", options)) == (
        "this onnxruntime has no CUDAExecutionProvider\n"
        "  expected: CUDAExecutionProvider\n"
        f"  got: {', '.join(available)}\n"
        f"  help: {install_line('gpu')}"
    )


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_onnxruntime_whose_cuda_provider_fails_to_load(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    variant = exported.variant("onnx-fp32")
    options = RuntimeOptions(device="cuda")
    assert refusal(UsageError, lambda: open_variant(exported, variant, "onnxruntime", options)) == (
        "ONNX Runtime fell back to CPUExecutionProvider\n"
        "  expected: CUDAExecutionProvider\n"
        "  got: CPUExecutionProvider\n"
        "  help: run `pinnace doctor`; CUDA and cuDNN must be of the versions this onnxruntime needs"
    )


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_torchscript_outputs_that_alias_an_input_or_a_constant_belong_to_the_caller(tmp_path: Path) -> None:
    from pinnace.models.bundle.signature import Signature, TensorSpec
    from pinnace.models.runtimes.torchscript import TorchScriptRuntime

    class Echo(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = torch.nn.Parameter(torch.ones(1, 2))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, self.constant

    spec = TensorSpec("x", "float32", (1, 2))
    signature = Signature(
        (spec,), (dataclasses.replace(spec, name="same"), dataclasses.replace(spec, name="one"))
    )
    torch.jit.save(torch.jit.script(Echo()), tmp_path / "echo.pt")
    with TorchScriptRuntime(tmp_path / "echo.pt", signature, RuntimeOptions()) as opened:
        inputs = np.zeros((1, 2), np.float32)
        outputs = opened.run({"x": inputs})
        outputs["same"][...] = 5
        outputs["one"][...] = 5
        np.testing.assert_array_equal(inputs, 0)
        np.testing.assert_array_equal(opened.run({"x": inputs})["one"], 1)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one(threads: int) -> None:
    assert refusal(UsageError, lambda: RuntimeOptions(threads=threads)) == (
        f"threads must be at least 1\n  got: {threads}"
    )


def test_an_unknown_device() -> None:
    assert refusal(UsageError, lambda: RuntimeOptions(device="abacus")) == (
        "unknown device\n  expected: one of cpu, cuda, gpu, npu, auto\n  got: abacus"
    )


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A runtime in one new file, for a package that nobody has; it would be preferred for ONNX."""
    (tmp_path / "toy.py").write_text(
        "from pinnace.models.runtimes.onnxruntime import OnnxRuntime\n"
        "class Toy(OnnxRuntime):\n"
        "    name, module, rank = 'toy', 'package_that_nobody_has', 1\n"
        "    install_line = 'pip install toy'\n"
        "RUNTIME = Toy\n"
    )
    monkeypatch.setattr(runtimes, "__path__", [*runtimes.__path__, str(tmp_path)])
    all_runtimes.cache_clear()
    yield all_runtimes()["toy"]
    monkeypatch.undo()
    all_runtimes.cache_clear()


def test_a_runtime_is_found_by_its_file_and_ranked(toy: type[Runtime]) -> None:
    assert next(iter(all_runtimes())) == "toy"
    assert runtimes_for("onnx")[0] is toy
    assert toy not in runtimes_for("torchscript")


def test_a_runtime_that_does_not_work_here_gives_way_to_the_next(
    toy: type[Runtime], exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "has_avx512", lambda: False)
    variant, opened = open_bundle(exported, "onnx-fp32")
    with opened:
        assert (variant.name, opened.name) == ("onnx-fp32", "onnxruntime")


@pytest.mark.parametrize("variant", [None, "onnx-fp32"])
def test_a_runtime_that_does_not_work_here_is_refused_by_name(
    toy: type[Runtime], exported: Bundle, variant: str | None
) -> None:
    assert refusal(MissingDependency, lambda: open_bundle(exported, variant, "toy")) == (
        "no runtime on this machine can run onnx-fp32: "
        "toy: the package package_that_nobody_has is not installed\n"
        "  help: install one with: pip install toy"
    )


def test_a_runtime_that_does_not_read_the_variant(exported: Bundle) -> None:
    readers = ", ".join(reader.name for reader in runtimes_for("onnx"))
    assert refusal(UsageError, lambda: open_bundle(exported, "onnx-fp32", "torchscript")) == (
        f"runtime torchscript cannot run onnx-fp32\n  expected: one of {readers}\n  got: torchscript"
    )


def test_a_runtime_chooses_the_variant_that_it_reads(exported: Bundle) -> None:
    variant, opened = open_bundle(exported, runtime="torchscript")
    with opened:
        assert (variant.name, opened.name) == ("torchscript-fp32", "torchscript")


@pytest.mark.parametrize(
    ("order", "expected", "with_avx512"),
    [
        ((), "onnxruntime", "openvino"),
        (("onnxruntime", "openvino"), "onnxruntime", "openvino"),
        (("openvino", "onnxruntime"), "openvino", "openvino"),
        (("onnxruntime",), "onnxruntime", "onnxruntime"),
        (("toy", "unheard-of", "openvino"), "openvino", "openvino"),
        (("torchscript",), "onnxruntime", "openvino"),
    ],
)
@pytest.mark.parametrize("avx512", [False, True])
def test_the_order_of_the_manifest_and_the_cpu_choose_the_runtime(
    toy: type[Runtime],
    exported: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[str, ...],
    expected: str,
    with_avx512: str,
    avx512: bool,
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setattr(openvino, "has_avx512", lambda: avx512)
    expected = with_avx512 if avx512 else expected
    manifest = dataclasses.replace(exported.manifest, runtimes=order)
    variant, opened = open_bundle(dataclasses.replace(exported, manifest=manifest))
    with opened:
        assert (variant.name, opened.name) == ("onnx-fp32", expected)


def test_a_changed_file_is_never_loaded(own_copy: Bundle) -> None:
    for variant in own_copy.manifest.variants:
        path = own_copy.path(variant.file)
        path.write_bytes(path.read_bytes() + b"\0")
        message = refusal(CheckFailed, lambda variant=variant: open_variant(own_copy, variant))
        assert message.startswith(str(path))
        assert "changed since it was exported" in message


def test_no_runtime_imports_its_package_before_it_is_opened() -> None:
    packages = {runtime.module.partition(".")[0] for runtime in all_runtimes().values()}
    for path in Path(runtimes.__file__).parent.glob("*.py"):
        imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import)]
        names = {alias.name.partition(".")[0] for node in imports for alias in node.names}
        assert not names & packages, path.name


# --- a batch of one fixed size ----------------------------------------------------------------------------


def of_batch(signature: Signature, size: int) -> Signature:
    """The same, as of a file whose batch is fixed."""
    inputs, outputs = (
        tuple(dataclasses.replace(spec, shape=(size, *spec.shape[1:])) for spec in specs)
        for specs in (signature.inputs, signature.outputs)
    )
    return Signature(inputs, outputs)


@pytest.mark.parametrize("count", [1, 3, 4, 6, 8])
def test_a_fixed_batch_is_filled_and_the_answers_are_cut_back(
    kind: type[Runtime], file: Path, exported: Bundle, runtime: Runtime, count: int
) -> None:
    wanted = runtime.run({"input": images(count)})["logits"]
    with kind(file, of_batch(exported.manifest.signature, 4), RuntimeOptions(threads=2)) as fixed:
        calls = []
        once = fixed._run
        fixed._run = lambda feeds: calls.append(len(feeds["input"])) or once(feeds)  # type: ignore[method-assign]
        answer = fixed.run({"input": images(count)})["logits"]
    assert calls == [4] * -(-count // 4)
    np.testing.assert_allclose(answer, wanted, atol=1e-5)


def test_a_fixed_batch_still_refuses_what_does_not_fit(
    kind: type[Runtime], file: Path, exported: Bundle
) -> None:
    with kind(file, of_batch(exported.manifest.signature, 4), RuntimeOptions(threads=2)) as fixed:
        for wrong in (images(0), images(1)[0], images(4)[:, :, :8], images(4).astype(np.float64)):
            assert "wrong dtype or shape" in refusal(
                UsageError, lambda wrong=wrong: fixed.run({"input": wrong})
            )
