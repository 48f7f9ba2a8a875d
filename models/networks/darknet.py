"""The YOLO networks of Darknet, from its published layer tables.

J. Redmon and A. Farhadi, YOLO9000: Better, Faster, Stronger (arXiv:1612.08242), YOLOv3: An Incremental
Improvement (arXiv:1804.02767); `cfg/NAME.cfg` in github.com/pjreddie/darknet and github.com/AlexeyAB/darknet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinnace.models.networks.layers import Conv, Detect, MaxPool, RouteLayer, Shortcut, Table, Upsample


@dataclass(frozen=True)
class Network:
    """One network of Darknet.

    Attributes:
        name: of the `.cfg` file.
        table: gives the layers for a number of classes.
        classes: of the data set that the published weights were trained on.
        size: edge of the square input.
        weights_bytes: size of the published `NAME.weights`.
        header_bytes: how much of that stands before the weights; older files count images in 32 bits.
    """

    name: str
    table: Callable[[int], Table]
    classes: int
    size: int
    weights_bytes: int
    header_bytes: int


def _outputs(anchors: int, classes: int) -> tuple[Conv, Detect]:
    return Conv(anchors * (5 + classes), 1, linear=True), Detect()


def _pyramid() -> Table:
    """What the tiny networks begin with, up to a stride of 32 and 512 channels."""
    halved = tuple(layer for filters in (16, 32, 64, 128, 256) for layer in (Conv(filters), MaxPool()))
    return (*halved, Conv(512), MaxPool(stride=1))


def yolov2_tiny_voc(classes: int) -> Table:
    """Tiny YOLOv2, as it was trained on VOC."""
    return (*_pyramid(), Conv(1024), Conv(1024), *_outputs(5, classes))


def yolov2_tiny(classes: int) -> Table:
    """Tiny YOLOv2, as it was trained on COCO: a narrower layer before the last."""
    return (*_pyramid(), Conv(1024), Conv(512), *_outputs(5, classes))


def yolov3_tiny(classes: int) -> Table:
    """Tiny YOLOv3: two scales."""
    return (
        *(*_pyramid(), Conv(1024), Conv(256, 1), Conv(512), *_outputs(3, classes)),
        *(RouteLayer((-4,)), Conv(128, 1), Upsample(), RouteLayer((-1, 8)), Conv(256), *_outputs(3, classes)),
    )


def yolov3(classes: int) -> Table:
    """YOLOv3: Darknet-53 without its classifier, and three scales."""

    def stage(filters: int, blocks: int) -> Table:
        block = (Conv(filters // 2, 1), Conv(filters), Shortcut(-3))
        return (Conv(filters, stride=2), *block * blocks)

    def head(filters: int) -> Table:
        return (*(Conv(filters, 1), Conv(2 * filters)) * 3, *_outputs(3, classes))

    return (
        *(Conv(32), *stage(64, 1), *stage(128, 2), *stage(256, 8), *stage(512, 8), *stage(1024, 4)),
        *head(512),
        *(RouteLayer((-4,)), Conv(256, 1), Upsample(), RouteLayer((-1, 61)), *head(256)),
        *(RouteLayer((-4,)), Conv(128, 1), Upsample(), RouteLayer((-1, 36)), *head(128)),
    )


NETWORKS = {
    network.name: network
    for network in (
        Network("yolov2-tiny-voc", yolov2_tiny_voc, 20, 416, 63_471_556, 16),
        Network("yolov2-tiny", yolov2_tiny, 80, 416, 44_948_600, 20),
        Network("yolov3-tiny", yolov3_tiny, 80, 416, 35_434_956, 20),
        Network("yolov3", yolov3, 80, 416, 248_007_048, 20),
    )
}
