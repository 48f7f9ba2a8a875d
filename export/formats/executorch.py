"""`.pte`: what ExecuTorch runs on phones and boards; lowered to XNNPACK. https://docs.pytorch.org/executorch"""

from __future__ import annotations

from pinnace.export.formats.base import Format
from pinnace.export.formats.converters.environment import Converter
from pinnace.models.install import install_line
from pinnace.models.variant_name import VariantName

CONVERTER = Converter(
    "executorch", "to_executorch.py", "PINNACE_EXECUTORCH_PYTHON", install_line("executorch")
)


def snippet(variant: VariantName, opset: int) -> str:
    """Lines that write the file with executorch."""
    return f"""\
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

program = torch.export.export(model, tuple(example[:1] for example in examples))
lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
open("{variant}.pte", "wb").write(lowered.buffer)
"""


FORMAT = Format(
    "executorch",
    ".pte",
    ("fp32",),
    ("torch",),
    CONVERTER.convert,
    snippet,
    require=CONVERTER.python,
)
