"""Runs where executorch is: lowers a program of torch.export to XNNPACK. `environment` starts it.

    python -I to_executorch.py FOLDER PRECISION FILE

FOLDER holds `program.pt2`, PRECISION is `fp32`; FILE and `result.json` are written there.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Write the file, and what took part, or why there is none."""
    folder, file = Path(sys.argv[1]), sys.argv[3]
    result = folder / "result.json"
    try:
        convert(folder / "program.pt2", folder / file)
    except Exception as error:  # every stage of the lowering raises classes of its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        result.write_text(json.dumps({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"}))
        raise
    result.write_text(json.dumps({"versions": {"executorch": version("executorch")}}))


def convert(source: Path, path: Path) -> None:
    """Lower the program; what XNNPACK cannot compute is left to ExecuTorch's own kernels."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(source)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    main()
