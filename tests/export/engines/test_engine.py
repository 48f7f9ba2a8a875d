"""Real engines from the real builder of TensorRT RTX, which needs no GPU; their answers are in tests/gpu."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pinnace.cli import main
from pinnace.export.engines import build as building
from pinnace.export.engines.build import build_variant, choose_builder, sources
from pinnace.export.engines.engine import build_engine
from pinnace.export.validation.verify import verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import EngineInfo
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import BundleError, CheckFailed, MissingDependency, UsageError
from pinnace.models.files import sha256
from pinnace.models.install import install_line
from pinnace.models.progress import Event, Stage
from pinnace.models.runtimes import cuda as cuda_api
from pinnace.models.runtimes.tensorrt import TensorRt
from pinnace.models.runtimes.tensorrt_rtx import TensorRtRtx
from pinnace.models.selection import answering, open_bundle, open_variant, select
from support import imitation_gpu
from support.errors import refusal

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT RTX has no wheel for this machine")

NO_GPU = cuda_api.unavailable_reason()
without_gpu = pytest.mark.skipif(NO_GPU is None, reason="there is a GPU here")

INPUT = TensorSpec("x", "float32", ("batch", 3, 8, 8))
OUTPUT = TensorSpec("y", "float32", ("batch", 3, 8, 8))
SIGNATURE = Signature((INPUT,), (OUTPUT,))


def one_node(path: Path, operator: str, *, domain: str = "", name: str = "the_node") -> Path:
    node = helper.make_node(operator, ["x"], ["y"], name=name, domain=domain)
    shape = ["batch", 3, 8, 8]
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape) for value in ("x", "y")]
    opsets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def build(path: Path, *, signature: Signature = SIGNATURE, batch: tuple[int, int] = (1, 16), **more) -> bytes:
    beside = {"cache": path.parent / "timings", "log": path.parent / "build.log"}
    return build_engine(TensorRtRtx, path, signature, batch, **beside, **more)


@pytest.fixture
def bundle(precisions: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the bundle with all precisions that a test may add to."""
    return Bundle.open(shutil.copytree(precisions.folder, tmp_path / "tiny.bundle"))


@pytest.fixture
def gpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    """An imitated GPU on which every engine answers as the fp32 file does; the builder stays the real one."""
    cuda = imitation_gpu.Cuda()
    monkeypatch.setattr(cuda_api, "bindings", lambda: cuda)
    monkeypatch.setattr(cuda_api, "unavailable_reason", lambda: None)
    monkeypatch.setattr(cuda_api, "_DRIVER_FILE", Path("/nonexistent"))
    onnx_file = str(bundle.path("onnx-fp32.onnx"))
    monkeypatch.setattr(trt, "Runtime", imitation_gpu.runtime_class(trt, cuda, onnx_file, (1, 16)))
    return cuda


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@without_gpu
def test_an_engine_is_built_from_each_precision(bundle: Bundle, precision: str) -> None:
    source = bundle.variant(f"onnx-{precision}")
    built = build_variant(bundle, source, TensorRtRtx)
    path = bundle.folder / f"tensorrt_rtx-{precision}.engine"
    assert built == dataclasses.replace(
        source,
        name=f"tensorrt_rtx-{precision}",
        format="tensorrt_rtx",
        file=path.name,
        sha256=sha256(path),
        bytes=path.stat().st_size,
        parity=None,
        proof=None,
        exporter=None,
        engine=EngineInfo(source.name, "tensorrt_rtx", trt.__version__, "Linux x86_64", (1, 16)),
    )
    again = Bundle.open(bundle.folder)
    assert again.manifest.variants == (*bundle.manifest.variants, built)
    again.check_files()
    assert [path.name for path in bundle.folder.parent.glob("tiny.bundle*")] == ["tiny.bundle"]


def test_the_network_is_strongly_typed_and_the_profile_covers_the_batch_range(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    finish = trt.Builder.build_serialized_network

    def look(builder, network, config):
        network_input = network.get_input(0)
        seen["dtypes"] = [network_input.dtype, network.get_output(0).dtype]
        seen["strong"] = network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        seen["shape"] = tuple(network_input.shape)
        seen["tf32"] = config.get_flag(trt.BuilderFlag.TF32)
        seen["profiles"] = config.num_optimization_profiles
        return finish(builder, network, config)

    shapes = []
    make = trt.Builder.create_optimization_profile

    class Profile:
        def __init__(self, real) -> None:
            self.real = real

        def set_shape(self, name, *sizes):
            shapes.append((name, *sizes))
            return self.real.set_shape(name, *sizes)

    profiles = []
    monkeypatch.setattr(trt.Builder, "build_serialized_network", look)
    monkeypatch.setattr(
        trt.Builder,
        "create_optimization_profile",
        lambda self: profiles.append(Profile(make(self))) or profiles[-1],
    )
    add = trt.IBuilderConfig.add_optimization_profile
    monkeypatch.setattr(
        trt.IBuilderConfig, "add_optimization_profile", lambda self, profile: add(self, profile.real)
    )
    wide = dataclasses.replace(bundle.manifest, batch=(2, 24))
    build_variant(Bundle(bundle.folder, wide), bundle.variant("onnx-fp16"), TensorRtRtx)
    assert seen == {
        "dtypes": [trt.float32, trt.float32],
        "strong": True,
        "shape": (-1, 3, 16, 16),
        "tf32": False,
        "profiles": 1,
    }
    assert shapes == [("input", (2, 3, 16, 16), (2, 3, 16, 16), (24, 3, 16, 16))]


def test_the_flag_for_strong_types_is_given_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorRT 10 needs it; 11 and RTX are strongly typed without.
    given = []
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    create = trt.Builder.create_network
    monkeypatch.setattr(
        trt.Builder, "create_network", lambda self, flags: given.append(flags) or create(self, flags)
    )
    build(one_node(tmp_path / "relu.onnx", "Relu"))
    monkeypatch.setattr(trt, "NetworkDefinitionCreationFlag", object())
    build(tmp_path / "relu.onnx")
    assert given == [flag, 0]


def test_the_optimal_batch_is_one_where_the_range_has_it(tmp_path: Path) -> None:
    for batch in ((1, 1), (1, 16), (4, 4)):
        assert build(one_node(tmp_path / "relu.onnx", "Relu"), batch=batch)


def test_progress_is_reported_and_what_it_raises_ends_the_build(tmp_path: Path) -> None:
    path = one_node(tmp_path / "relu.onnx", "Relu")
    seen: list[Event] = []
    build(path, progress=seen.append)
    assert Event(Stage.BUILD, done=0, total=6, detail="Building engine") in seen
    assert all(0 <= event.done <= event.total for event in seen)
    assert seen[-1].detail == "Building engine"
    assert seen[-1].done == seen[-1].total

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(path, progress=interrupt)


def test_the_timing_cache_is_written_read_again_and_replaced_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TensorRtRtx, "keeps_timings", True)
    path, cache = one_node(tmp_path / "relu.onnx", "Relu"), tmp_path / "timings"
    given: list[bytes] = []
    create = trt.IBuilderConfig.create_timing_cache
    monkeypatch.setattr(
        trt.IBuilderConfig,
        "create_timing_cache",
        lambda self, data: given.append(bytes(data)) or create(self, data),
    )
    build(path)
    first = cache.read_bytes()
    build(path)
    assert given == [b"", first]
    cache.write_bytes(b"damaged" * 50)
    assert build(path)
    assert cache.read_bytes() != b"damaged" * 50


def test_a_builder_without_a_timing_cache_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(trt.IBuilderConfig, "create_timing_cache")
    assert TensorRtRtx.keeps_timings is False
    assert build(one_node(tmp_path / "relu.onnx", "Relu"))
    assert not (tmp_path / "timings").exists()


@pytest.mark.parametrize("damage", ["cut short", "noise"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, damage: str) -> None:
    path = one_node(tmp_path / "relu.onnx", "Relu")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut short" else np.random.default_rng(0).bytes(999))
    message = refusal(CheckFailed, lambda: build(path))
    assert message.startswith("TensorRT cannot parse relu.onnx: ")
    assert "Failed to parse the ONNX model." in message
    assert (tmp_path / "build.log").read_text().startswith("error: ")
    build(one_node(path, "Relu"))
    assert not (tmp_path / "build.log").exists()


def test_a_file_without_anything_in_it(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert refusal(CheckFailed, lambda: build(tmp_path / "empty.onnx")) == (
        "empty.onnx has other inputs and outputs than the manifest says\n  expected: x, y\n  got: none"
    )


def test_a_node_that_tensorrt_does_not_know_is_named(tmp_path: Path) -> None:
    path = one_node(tmp_path / "own.onnx", "Frobnicate", domain="my.own", name="frob_1")
    message = refusal(CheckFailed, lambda: build(path))
    assert message.startswith("TensorRT cannot parse own.onnx: node Frobnicate frob_1: ")
    assert message.endswith("\n  help: leave the variant out with --variant, or export with another --opset")


def test_an_onnx_file_that_has_changed_is_not_built(bundle: Bundle) -> None:
    path = bundle.path("onnx-fp32.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    message = refusal(CheckFailed, lambda: build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx))
    assert message.startswith(f"{path} has changed since it was exported\n")
    assert Bundle.open(bundle.folder).manifest == bundle.manifest


@without_gpu
def test_the_command_builds_every_onnx_variant_and_verify_says_why_none_was_run(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["build", str(bundle.folder), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    names = [f"tensorrt_rtx-{precision}" for precision in ("fp32", "fp16", "int8")]
    assert [row["name"] for row in document["variants"]] == names
    assert {(row["parity"], row["passed"]) for row in document["variants"]} == {(None, None)}
    assert captured.err == "".join(
        f"{name}: built, but not proved: this machine has no GPU\n" for name in names
    )
    assert main.run(["verify", str(bundle.folder), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["variants"]}
    assert [rows[name]["passed"] for name in names] == [None] * 3
    assert {rows[name]["problem"] for name in names} == {NO_GPU}
    assert rows["onnx-fp32"]["passed"] is True
    assert main.run(["inspect", str(bundle.folder)]) == 0
    assert capsys.readouterr().out.count("not proved") == 3
    card = (bundle.folder / "README.md").read_text()
    assert [name for name in names if f"| `{name}` | `{name}.engine` |" in card] == names


@without_gpu
def test_a_card_that_somebody_has_changed_is_left_alone(bundle: Bundle) -> None:
    card = bundle.folder / "README.md"
    card.write_text("my own words")
    build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx)
    assert card.read_text() == "my own words"
    assert Bundle.open(bundle.folder).manifest.files == bundle.manifest.files


@without_gpu
def test_building_again_replaces_the_variant_and_keeps_the_others(bundle: Bundle) -> None:
    names = ["onnx-fp32", "onnx-int8", "onnx-fp32"]
    for name in names:
        build_variant(bundle, bundle.variant(name), TensorRtRtx)
    after = Bundle.open(bundle.folder)
    assert [variant.name for variant in after.manifest.variants] == [
        *(variant.name for variant in bundle.manifest.variants),
        "tensorrt_rtx-fp32",
        "tensorrt_rtx-int8",
    ]
    after.check_files()
    assert [path for path in bundle.folder.iterdir() if path.name.startswith(".")] == []


@without_gpu
def test_an_engine_that_was_never_run_does_not_become_the_default(bundle: Bundle) -> None:
    build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx)
    variant, runtime = open_bundle(Bundle.open(bundle.folder))
    with runtime:
        assert variant.name == "onnx-fp32"
        assert (variant.name, runtime.name) == answering(bundle, select(bundle))
    message = refusal(
        MissingDependency, lambda: open_bundle(Bundle.open(bundle.folder), runtime="tensorrt_rtx")
    )
    assert message == f"no runtime on this machine can run tensorrt_rtx-fp32: tensorrt_rtx: {NO_GPU}"


def test_with_a_gpu_the_engine_is_proved_tied_and_preferred(gpu: object, bundle: Bundle) -> None:
    build_variant(bundle, bundle.variant("onnx-fp16"), TensorRtRtx)
    built = build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx)
    assert built.engine == EngineInfo(
        "onnx-fp32",
        "tensorrt_rtx",
        trt.__version__,
        "Linux x86_64",
        (1, 16),
        "Imitation GPU",
        "8.7",
        "CUDA 12.6",
    )
    assert built.parity is not None
    assert built.parity.runtime == "tensorrt_rtx"
    assert built.parity.max_rel < 1e-5
    after = Bundle.open(bundle.folder)
    names = [variant.name for variant in after.manifest.variants]
    assert names[:3] == ["tensorrt_rtx-fp32", "tensorrt_rtx-fp16", "onnx-fp32"]
    variant, runtime = open_bundle(after)
    with runtime:
        assert (variant.name, runtime.name, runtime.device) == ("tensorrt_rtx-fp32", "tensorrt_rtx", "cuda")
        assert runtime.provider == "cuda: Imitation GPU"
    verdicts = verify_bundle(after, runtime="tensorrt_rtx")
    assert [verdict.passed for verdict in verdicts] == [True, True]


def test_an_engine_out_of_tolerance_does_not_come_into_the_bundle(
    gpu: object, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = dataclasses.replace(bundle.variant("onnx-fp32"), tolerance=Tolerance(max_rel=1e-12))
    # What float32 itself is off would be allowed on top of so small a bound.
    exact = dataclasses.replace(bundle.manifest.golden, float32_noise=())
    manifest = dataclasses.replace(bundle.manifest, variants=(strict,), golden=exact)
    (bundle.folder / "manifest.json").write_bytes(manifest.to_json())
    assert main.run(["build", str(bundle.folder), "--json"]) == 1
    captured = capsys.readouterr()
    start = (
        f"tensorrt_rtx-fp32 does not answer like the eager model; it was not added to {bundle.folder}\n"
        "  expected: at most 1e-12 of the outputs' range\n  got: "
    )
    (error,) = json.loads(captured.out)["errors"]
    assert error.startswith(start)
    assert captured.err.startswith("error: " + start)
    assert Bundle.open(bundle.folder).manifest == manifest
    assert not list(bundle.folder.glob("*.engine"))


@pytest.mark.parametrize(
    ("changes", "expected", "got"),
    [
        (
            {"gpu": "Orin"},
            "GPU Orin of compute capability 8.7",
            "GPU Imitation GPU of compute capability 8.7",
        ),
        ({"driver": "540.4.0"}, "driver 540.4.0", "driver CUDA 12.6"),
        ({"version": "10.3.0"}, "tensorrt_rtx 10.3.0", f"tensorrt_rtx {trt.__version__}"),
        (
            {"platform": "Linux aarch64", "compute_capability": "7.2"},
            "Linux aarch64, GPU Imitation GPU of compute capability 7.2",
            "Linux x86_64, GPU Imitation GPU of compute capability 8.7",
        ),
    ],
)
def test_an_engine_made_elsewhere_is_refused_before_it_is_read(
    gpu: object, bundle: Bundle, changes: dict[str, str], expected: str, got: str
) -> None:
    built = build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx)
    assert built.engine is not None
    stranger = dataclasses.replace(built, engine=dataclasses.replace(built.engine, **changes))
    elsewhere = Bundle(bundle.folder, dataclasses.replace(bundle.manifest, variants=(stranger,)))
    (bundle.folder / built.file).unlink()
    sentence = (
        "tensorrt_rtx-fp32 was built for another machine and does not run here\n"
        f"  expected: {expected}\n  got: {got}\n"
        f"  help: build it here with: pinnace build {bundle.folder} "
        "--variant onnx-fp32 --runtime tensorrt_rtx"
    )
    assert refusal(BundleError, lambda: open_variant(elsewhere, stranger)) == sentence


def test_verify_does_not_run_an_engine_made_elsewhere_and_still_passes(gpu: object, bundle: Bundle) -> None:
    build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx)
    gpu.name = b"Another GPU"  # type: ignore[attr-defined]
    verdicts = [v for v in verify_bundle(Bundle.open(bundle.folder)) if v.runtime == "tensorrt_rtx"]
    assert [verdict.passed for verdict in verdicts] == [None]
    assert str(verdicts[0].problem).startswith("tensorrt_rtx-fp32 was built for another machine")


def test_an_engine_of_unknown_origin_is_refused(gpu: object, bundle: Bundle) -> None:
    orphan = dataclasses.replace(build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx), engine=None)
    assert refusal(BundleError, lambda: open_variant(bundle, orphan)) == (
        "the manifest does not say which machine tensorrt_rtx-fp32 was built for"
    )


def test_only_onnx_variants_can_be_built(bundle: Bundle) -> None:
    assert [variant.name for variant in sources(bundle, None)] == ["onnx-fp32", "onnx-fp16", "onnx-int8"]
    assert refusal(UsageError, lambda: sources(bundle, ["torchscript-fp32"])) == (
        "engines are built from ONNX variants\n"
        "  expected: one of onnx-fp32, onnx-fp16, onnx-int8\n  got: torchscript-fp32"
    )


def test_a_builder_that_is_none() -> None:
    assert refusal(UsageError, lambda: choose_builder("onnxruntime")) == (
        "runtime onnxruntime has no engines to build\n"
        "  expected: one of tensorrt, tensorrt_rtx\n  got: onnxruntime"
    )


def test_a_builder_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorRt, "module", "package_that_nobody_has")
    monkeypatch.setattr(building, "builders", lambda: {"tensorrt": TensorRt})
    assert refusal(MissingDependency, lambda: choose_builder(None)) == (
        "no engine can be built here: the package package_that_nobody_has is not installed\n"
        f"  help: {install_line('tensorrt')}"
    )


@without_gpu
def test_tensorrt_itself_does_not_build_without_a_gpu_and_rtx_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TensorRt, "module", "tensorrt_rtx")
    assert choose_builder(None) is TensorRtRtx
    assert refusal(MissingDependency, lambda: choose_builder("tensorrt")) == (
        f"no engine can be built here: tensorrt builds only where there is a GPU: {NO_GPU}"
    )


def test_a_bundle_that_cannot_be_written(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building.tempfile, "mkstemp", full)
    assert (
        refusal(UsageError, lambda: build_variant(bundle, bundle.variant("onnx-fp32"), TensorRtRtx))
        == f"{bundle.folder} cannot be written: No space left on device"
    )
