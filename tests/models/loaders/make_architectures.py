"""Writes models/loaders/architectures.txt: what the weights of torchvision's and timm's networks are called.

A line has the network, its last layer, and the hashes that `pinnace.models.loaders.recognise` compares.
Run it again where a newer torchvision or timm has other networks.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from pinnace.models.loaders.recognise import TABLE, body_of, counted, hash_of
from pinnace.models.loaders.shapes import on_meta


def line(arch: str, build: Any) -> str:
    module = on_meta(build)
    shapes = counted({name: tuple(value.shape) for name, value in module.state_dict().items()})
    head = getattr(module, "default_cfg", {}).get("classifier") or last_layer(module)
    head = head if isinstance(head, str) else ",".join(head)
    return f"{arch} {head} {hash_of(shapes)} {body_of(shapes, head)}\n"


def last_layer(module: torch.nn.Module) -> str:
    auxiliary = ("aux", "Aux")
    layers = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and not name.startswith(auxiliary)
    ]
    return layers[-1]


def main() -> None:
    lines = []
    for name in torchvision.models.list_models(module=torchvision.models):
        options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
        build = functools.partial(torchvision.models.get_model, name, weights=None, **options)
        lines.append(line(f"torchvision:{name}", build))
    for name in timm.list_models():
        try:
            lines.append(line(f"timm:{name}", functools.partial(timm.create_model, name)))
        except Exception as error:
            print(name, type(error).__name__, str(error)[:80], file=sys.stderr)
    Path(TABLE).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
