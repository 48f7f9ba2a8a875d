"""Runs where litert-torch is: converts a program of torch.export to `.tflite`. `environment` starts it.

    python -I to_litert.py FOLDER PRECISION FILE

FOLDER holds `program.pt2`; FILE and `result.json` are written there.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Write the file, and what took part, or why there is none."""
    folder, precision, file = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    result = folder / "result.json"
    try:
        convert(folder / "program.pt2", precision, folder / file)
    except Exception as error:  # torch, MLIR and the quantiser raise classes of their own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        result.write_text(json.dumps({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"}))
        raise
    result.write_text(json.dumps({"versions": {"litert-torch": version("litert-torch")}}))


def convert(source: Path, precision: str, path: Path) -> None:
    """Convert in float32, and store the weights in fewer bits where that is asked for."""
    import litert_torch
    import torch

    program = torch.export.load(source)
    inputs, _ = program.example_inputs
    litert_torch.convert(program.module(), tuple(inputs)).export(str(path))
    if precision != "fp32":
        quantise(path, precision)


def quantise(path: Path, precision: str) -> None:
    """Weights in float16, or in int8 with the activations quantised as the network runs."""
    from ai_edge_quantizer import quantizer, recipe, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    if precision == "fp16":
        halves = recipe_manager.RecipeManager()
        halves.add_weight_only_config(".*", "*", num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
        made = halves.get_quantization_recipe()
    else:
        made = recipe.dynamic_wi8_afp32()
    path.write_bytes(quantizer.Quantizer(str(path), made).quantize().quantized_model)


if __name__ == "__main__":
    main()
