"""The name of a variant: a format and a precision, parsed in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from typing_extensions import Self

from pinnace.models.errors import UsageError


@dataclass(frozen=True, order=True)
class VariantName:
    """`FORMAT-PRECISION`, such as `onnx-fp32`; `str()` gives the text back.

    Attributes:
        format: `onnx`, `torchscript`, `tensorrt_rtx`, ...
        precision: as users write it: `fp32`, `int8`, `int8sym`, or a way of compiling such as `aoti`.
    """

    format: str
    precision: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `FORMAT-PRECISION`.

        Raises:
            UsageError: the text has another form.
        """
        format, _, precision = text.rpartition("-")
        if not format or not precision:
            raise UsageError(
                f"{text!r} is not the name of a variant", expected="FORMAT-PRECISION, such as onnx-fp32"
            )
        return cls(format, precision)

    def __str__(self) -> str:
        return f"{self.format}-{self.precision}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """In files and between processes it is the text."""
        from pydantic_core import core_schema

        def read(value: str | VariantName) -> VariantName:
            return value if isinstance(value, VariantName) else cls.parse(value)

        return core_schema.no_info_before_validator_function(
            read,
            core_schema.is_instance_schema(cls),
            serialization=core_schema.to_string_ser_schema(),
        )
