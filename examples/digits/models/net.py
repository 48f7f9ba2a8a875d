"""The network. It stands in a package called `models`, as in many a project."""

from torch import nn


def build(num_classes: int = 10) -> nn.Module:
    """A small convolutional network for grey images of 8x8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 4 * 4, num_classes),
    )
