"""torch.jit is deprecated upstream and still what people deploy: who uses it is not told so each time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.command_line import PINNACE

pytestmark = pytest.mark.slow

NETWORK = ("file:tiny.pt", "--arch", "sample_networks:Tiny")


@pytest.mark.parametrize("scripted", [False, True])
def test_nothing_typed_says_that_torchscript_is_deprecated(
    workshop: Path, tmp_path: Path, scripted: bool
) -> None:
    import torch

    from support.sample_networks import Tiny

    source: tuple[str, ...] = NETWORK
    if scripted:
        source = (str(tmp_path / "script.pt"),)
        with pytest.warns(FutureWarning, match="torch.jit"):  # so there is something to keep quiet
            torch.jit.script(Tiny().eval()).save(source[0])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}

    def type_in(*words: str) -> str:
        done = subprocess.run(
            [*PINNACE, *words], cwd=workshop, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    bundle = str(tmp_path / "out.bundle")
    written = ("--format", "torchscript", "--preprocess", "preprocess.toml", "-o", bundle)
    said = type_in("export", *source, *written)
    said += type_in("verify", bundle)
    said += type_in("bench", bundle, "--runtime", "torchscript", "--duration", "0.2", "--rounds", "1")
    assert "torchscript-fp32" in said
    assert "eprecat" not in said
    assert "Warning" not in said
