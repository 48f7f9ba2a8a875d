"""`.tflite`: LiteRT's, which were TensorFlow Lite's; written by litert-torch.

`litert-fp16` holds the weights in half precision; `litert-int8` holds them in eight bits and quantises what
flows between the layers as the network runs, so that no images are needed to calibrate it.
https://github.com/google-ai-edge/litert-torch
"""

from __future__ import annotations

from pinnace.export.formats.base import Format
from pinnace.export.formats.converters.environment import Converter
from pinnace.models.variant_name import VariantName

CONVERTER = Converter(
    "litert_torch",
    "to_litert.py",
    "PINNACE_LITERT_PYTHON",
    "python -m venv litert && litert/bin/pip install litert-torch && "
    "export PINNACE_LITERT_PYTHON=$PWD/litert/bin/python",
)

_HALVES = """\
halves = recipe_manager.RecipeManager()
halves.add_weight_only_config(".*", "*", num_bits=16, algorithm_key="float_casting")
made = halves.get_quantization_recipe()"""


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that write the file with litert-torch."""
    lines = f"""\
import litert_torch

examples = tuple(example[:1] for example in examples)
litert_torch.convert(model, examples).export("{variant}.tflite")
"""
    if variant.precision == "fp32":
        return lines
    made = _HALVES if variant.precision == "fp16" else "made = recipe.dynamic_wi8_afp32()"
    return f"""{lines}
from ai_edge_quantizer import quantizer, recipe, recipe_manager

{made}
quantised = quantizer.Quantizer("{variant}.tflite", made).quantize()
open("{variant}.tflite", "wb").write(quantised.quantized_model)
"""


FORMAT = Format(
    "litert",
    ".tflite",
    ("fp32", "fp16", "int8"),
    ("torch",),
    CONVERTER.convert,
    snippet,
    require=CONVERTER.python,
)
