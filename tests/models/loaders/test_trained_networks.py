"""Networks as training leaves them: within wrappers, with another head, and with settings of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from pinnace.models.errors import MissingDependency
from pinnace.models.image.decode import open_image
from pinnace.models.install import install_packages
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest, imagenet_preprocess
from pinnace.models.loaders.transform_input import FIRST_LAYERS, was_transformed
from pinnace.models.loaders.unpickle import read
from pinnace.models.loaders.wrappers import unwrap
from pinnace.models.photographs import photographs
from pinnace.models.source import Source

pytestmark = pytest.mark.slow


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def load_file(path: Path, arch: str | None = None, **options: object) -> LoadedModel:
    loaded = load(LoadRequest(Source("file", str(path)), arch, **options))  # type: ignore[arg-type]
    assert isinstance(loaded, LoadedModel)
    return loaded


def assert_same(first: nn.Module, second: nn.Module, *shape: int) -> None:
    inputs = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(first.eval()(inputs), second.eval()(inputs))


def on_gpu(module: nn.Module) -> nn.Module:
    """DataParallel as it is made where there is a GPU."""
    parallel = nn.DataParallel(module)
    parallel.device_ids, parallel.output_device, parallel.dim = [0], 0, 0
    parallel.src_device_obj = torch.device("cuda:0")
    return parallel


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, on_gpu, torch.optim.swa_utils.AveragedModel, lambda module: on_gpu(on_gpu(module))],
    ids=["DataParallel", "on a GPU", "AveragedModel", "twice"],
)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "in a checkpoint"])
def test_a_network_saved_within_a_wrapper(
    tmp_path: Path, wrap: Callable[[nn.Module], nn.Module], beside: bool
) -> None:
    wrapped = wrap(network())
    torch.save({"model": wrapped, "epoch": 3} if beside else wrapped, tmp_path / "net.pt")
    loaded = load_file(tmp_path / "net.pt", trust=True)
    assert type(loaded.module) is nn.Sequential
    assert_same(loaded.module, network(), 3, 8, 8)


def test_a_wrapper_within_a_network() -> None:
    inner = network()
    outer = nn.Sequential(on_gpu(inner), nn.Softmax(1))
    assert unwrap(outer)[0] is inner  # type: ignore[index]
    assert_same(outer, nn.Sequential(inner, nn.Softmax(1)), 3, 8, 8)


def test_a_compiled_network_is_taken_as_it_was() -> None:
    plain = network()
    assert unwrap(torch.compile(plain)) is plain  # type: ignore[arg-type]


def test_a_network_saved_within_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        torch.save(nn.parallel.DistributedDataParallel(network()), tmp_path / "net.pt")
    finally:
        torch.distributed.destroy_process_group()
    loaded = load_file(tmp_path / "net.pt", trust=True)
    assert type(loaded.module) is nn.Sequential
    assert_same(loaded.module, network(), 3, 8, 8)


def test_a_package_that_a_pickle_needs_is_named(tmp_path: Path) -> None:
    data = b"\x80\x02cultralytics.nn.tasks\nClassificationModel\n)\x81."
    (tmp_path / "net.pkl").write_bytes(data)
    with pytest.raises(MissingDependency) as caught:
        read(tmp_path / "net.pkl", trust=True)
    assert str(caught.value) == (
        f"unpickling {tmp_path}/net.pkl needs the package ultralytics, which is not installed\n"
        f"  help: {install_packages('ultralytics')}"
    )


@pytest.mark.parametrize("classes", [3, 1000])
def test_the_number_of_classes_is_read_off_the_last_layer(tmp_path: Path, classes: int) -> None:
    trained = torchvision.models.resnet18(num_classes=classes)
    torch.save({f"module.{name}": v for name, v in trained.state_dict().items()}, tmp_path / "net.pth")
    loaded = load_file(tmp_path / "net.pth", "torchvision:resnet18")
    assert_same(loaded.module, trained, 3, 64, 64)
    assert loaded.notes == (("3 classes, by the shape of fc.weight",) if classes == 3 else ())
    assert (loaded.labels is None) == (classes == 3)


def test_grey_is_grey(tmp_path: Path) -> None:
    trained = torchvision.models.resnet18(num_classes=4)
    trained.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    loaded = load_file(tmp_path / "net.pth", "torchvision:resnet18")
    assert_same(loaded.module, trained, 1, 64, 64)
    assert loaded.preprocess is not None
    assert (loaded.preprocess.color, loaded.preprocess.mean) == ("L", (0.0,))
    assert loaded.notes == (
        "4 classes, by the shape of fc.weight",
        "the network takes images of 1 channel, by the shape of conv1.weight",
    )


@pytest.mark.parametrize("channels", [1, 4])
def test_classes_and_channels_of_a_timm_network(tmp_path: Path, channels: int) -> None:
    import timm

    trained = timm.create_model("test_resnet", num_classes=5, in_chans=channels)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "net.pth.tar")
    loaded = load_file(tmp_path / "net.pth.tar", "timm:test_resnet")
    assert_same(loaded.module, trained, channels, 64, 64)
    word = "1 channel" if channels == 1 else "4 channels"
    assert f"the network takes images of {word}, by the shape of conv1.0.weight" in loaded.notes
    if channels == 1:
        assert loaded.preprocess is not None
        assert loaded.preprocess.color == "L"
    else:
        assert loaded.preprocess is None
        assert loaded.inputs is not None
        assert loaded.inputs[0].shape[1] == 4


def test_a_vision_transformer_of_another_image_size(tmp_path: Path) -> None:
    trained = torchvision.models.vit_b_32(image_size=64, num_classes=2)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    loaded = load_file(tmp_path / "net.pth", "torchvision:vit_b_32")
    assert_same(loaded.module, trained, 3, 64, 64)
    assert loaded.preprocess is not None
    assert loaded.preprocess.crop == (64, 64)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_heads_that_only_training_has(tmp_path: Path, auxiliary: bool) -> None:
    trained = torchvision.models.googlenet(aux_logits=auxiliary, num_classes=2, init_weights=False)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    loaded = load_file(tmp_path / "net.pth", "torchvision:googlenet")
    assert_same(loaded.module, trained, 3, 96, 96)


def trained_first_layer(name: str, transformed: bool) -> nn.Module:
    """An untrained network whose first layer has the statistics of two photographs."""
    builder = getattr(torchvision.models, name)
    built: nn.Module = builder(init_weights=False, num_classes=3, transform_input=transformed)
    first = getattr(built, FIRST_LAYERS[name][0])
    first.bn.momentum = None
    preprocess = imagenet_preprocess(299)
    images = np.stack([preprocess.apply(open_image(path)) for path in photographs()[:2]])
    with torch.no_grad():
        first.train()(built._transform_input(torch.from_numpy(images)))  # type: ignore[operator]
    return built.eval()


@pytest.mark.parametrize("transformed", [True, False])
@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_whether_a_network_transforms_its_input_is_seen(tmp_path: Path, name: str, transformed: bool) -> None:
    trained = trained_first_layer(name, transformed)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    loaded = load_file(tmp_path / "net.pth", f"torchvision:{name}")
    assert_same(loaded.module, trained, 3, 96, 96)
    assert loaded.notes[0] == (
        f"transform_input={transformed}, by the statistics of the first layer; "
        f"--arg transform_input={not transformed} says otherwise"
    )
    other = load_file(
        tmp_path / "net.pth", f"torchvision:{name}", arguments={"transform_input": not transformed}
    )
    assert other.module.transform_input is not transformed


def test_where_it_cannot_be_seen_a_note_asks(tmp_path: Path) -> None:
    # Statistics as they are before any training.
    untrained = torchvision.models.googlenet(init_weights=False, num_classes=3, aux_logits=False).state_dict()
    untrained["conv1.conv.weight"] *= 0
    assert was_transformed("googlenet", untrained) is None
    torch.save(untrained, tmp_path / "net.pth")
    assert load_file(tmp_path / "net.pth", "torchvision:googlenet").notes[0] == (
        "it cannot be seen whether googlenet was trained with transform_input, as torchvision does when it "
        "starts from its own weights: False is assumed, and --arg transform_input=True says otherwise"
    )
