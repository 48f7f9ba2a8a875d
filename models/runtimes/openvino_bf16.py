"""OpenVINO with bfloat16 arithmetic, on CPUs that have it: faster, and less exact than the file."""

from __future__ import annotations

import platform

from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.runtimes.openvino import OpenVino, import_openvino

# bf16 has 8 significant bits, so one rounding is off by up to 2^-9 = 0.2 %, and some fifty layers add up.
# EfficientNet-Lite0 was off by 4 % of the logits' range at worst (cosine 0.9976) and named every golden input
# alike.
_TOLERANCE = Tolerance(max_rel=0.1, min_cosine=0.99, min_top1_agreement=0.9)


class OpenVinoBf16(OpenVino):
    """Computes in bf16 what the file has in fp32. Asked for by name, never chosen."""

    name = "openvino-bf16"
    rank = 90
    opt_in = True
    precision = "bf16"
    devices = ("cpu",)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this runtime does not work here, or None if it does."""
        problem = super().unavailable_reason()
        if problem is not None:
            return problem
        if "BF16" not in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            machine = platform.machine()
            needed = "FEAT_BF16" if machine in ("aarch64", "arm64") else "AVX512_BF16, AMX"
            return f"this CPU ({machine}) has no bfloat16 arithmetic ({needed})"
        return None

    @classmethod
    def install_hint(cls) -> str | None:
        """The command that installs the package; none changes the CPU."""
        return cls.how_to_install() if super().unavailable_reason() is not None else None

    @classmethod
    def tolerance(cls, variant: Variant) -> Tolerance:
        """That of bf16, unless the file is less exact than that itself."""
        return _TOLERANCE if variant.precision in ("fp32", "fp16") else variant.tolerance


RUNTIME = OpenVinoBf16
