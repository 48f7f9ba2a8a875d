"""Who the CPU is: its name, and the instructions that decide which kernels a runtime picks."""

from __future__ import annotations

import re

# Flags of /proc/cpuinfo that decide which kernels a runtime picks.
_ISA = re.compile(
    r"f16c|fma|avx2|avx512\w*|avx_vnni\w*|avx10\w*|amx_\w+|neon|asimd|asimdhp|asimddp|bf16|i8mm|sve2?|sme2?"
)

# Arm's names of its parts: Arm's technical reference manuals, register MIDR_EL1; also in util-linux `lscpu`.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd83": "Neoverse-V3AE",
    "0xd84": "Neoverse-V3",
}
_OTHER_PARTS = {("0x4e", "0x003"): "NVIDIA Denver 2", ("0x4e", "0x004"): "NVIDIA Carmel"}
_ARM = "0x41"


def cpu_flags(cpuinfo: str) -> list[str]:
    """All flags of the text of /proc/cpuinfo, in its order."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return list(dict.fromkeys(found[1].split())) if found else []


def isa_flags(cpuinfo: str) -> tuple[str, ...]:
    """Those flags that decide which kernels a runtime picks."""
    return tuple(flag for flag in cpu_flags(cpuinfo) if _ISA.fullmatch(flag))


def cpu_model(cpuinfo: str) -> str | None:
    """The name of the CPU, or None where the text of /proc/cpuinfo does not say."""
    if names := _all(cpuinfo, "model name"):
        return " + ".join(names)
    pairs = zip(
        re.findall(r"^CPU implementer\s*:\s*(\S+)$", cpuinfo, re.MULTILINE),
        re.findall(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE),
        strict=False,
    )
    parts = [
        _ARM_PARTS.get(part, f"Arm part {part}")
        if maker == _ARM
        else _OTHER_PARTS.get((maker, part), f"implementer {maker} part {part}")
        for maker, part in dict.fromkeys(pairs)
    ]
    return " + ".join(parts) or None


def _all(cpuinfo: str, key: str) -> list[str]:
    return list(dict.fromkeys(re.findall(rf"^{key}\s*:\s*(.+?)\s*$", cpuinfo, re.MULTILINE)))
