"""Networks that a user might bring, good and bad; all but `Grey` fit the same checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import torch
from torch import nn


class Tiny(nn.Module):
    """Convolution, batch norm, dropout, mean, linear: eval mode and train mode answer very differently."""

    channels = 3

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(self.channels, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, num_classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.drop(self.norm(self.stem(x)).relu().mean((2, 3)))
        return features

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.features(x))


class Grey(Tiny):
    channels = 1


class Branching(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        features = self.features(x)
        if x.mean() > 0:
            features = -3 * features
        return self.head(features)


class Random(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x) + torch.rand(())


class NotANumber(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).log()


class Pair(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        features = self.features(x)
        return self.head(features), features


class Named(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        features = self.features(x)
        return {"scores": self.head(features), "embedding": features}


class Talkative(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return {"scores": super().forward(x), "remark": "a cat, I think"}


class FixedBatch(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).reshape(1, 5)


class OneNumber(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).mean()


class Summing(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).sum(0, keepdim=True)


class Squeezing(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).squeeze(), None


class Mixing(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).softmax(0)


class Wandering(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return self.features(x)[:, : 1 + int(x.mean() > 0)]


class LargeInput(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return self.head(nn.functional.avg_pool2d(self.stem(x), 64).flatten(1))


def not_a_network() -> dict[str, int]:
    return {"layers": 3}


def fails() -> Tiny:
    raise ValueError("no GPU, no network\nsecond line")


def ends() -> Tiny:
    print("goodbye", flush=True)
    sys.exit(7)


def sleeps() -> Tiny:
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(helper.pid, flush=True)
    while True:
        time.sleep(0.1)


def crashes() -> Tiny:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("still alive")
