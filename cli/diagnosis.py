"""What works on this machine."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass

from pinnace.export.formats import all_formats
from pinnace.models.cpus import available_cpus, cgroup_cpu_quota, fast_precisions
from pinnace.models.errors import PinnaceError
from pinnace.models.install import install_line
from pinnace.models.packages import installed_version
from pinnace.models.runtimes import all_runtimes

# What each step needs beyond the base install: step, modules, extra.
_STEPS = (
    ("export", ("torch", "torchvision", "onnx", "onnxscript"), "export"),
    ("serve", ("bentoml", "uvloop", "httptools"), "serve"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that works here or does not.

    Attributes:
        name: a runtime, a step, or a fact of the machine.
        version: of what makes it work, or the fact itself.
        problem: why it does not work, or None.
        install_line: the command that installs what is missing, or None.
    """

    name: str
    version: str | None
    problem: str | None = None
    install_line: str | None = None


def diagnose() -> list[Finding]:
    """Check the machine, the runtimes and the steps. A package is imported only to ask for its devices."""
    quota = cgroup_cpu_quota()
    fast = ", ".join(f"{precision} ({name})" for precision, name in fast_precisions().items())
    findings = [
        Finding("python", platform.python_version()),
        Finding("machine", f"{platform.machine()} {platform.system()}"),
        Finding("cpus", f"{available_cpus()}" + ("" if quota is None else f" (cgroup quota {quota:g})")),
        Finding("faster than fp32 on this CPU", fast or "nothing that is known"),
    ]
    for runtime in all_runtimes().values():
        problem = runtime.unavailable_reason()
        findings.append(
            Finding(
                f"runtime {runtime.name}",
                runtime.version() if problem is None else None,
                problem,
                None if problem is None else runtime.install_hint(),
            )
        )
        if problem is None and not runtime.opt_in and (devices := runtime.found_devices()):
            findings.append(Finding(f"devices of {runtime.name}", ", ".join(devices)))
    findings += _converters()
    for step, modules, extra in _STEPS:
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        findings.append(
            Finding(
                step,
                None if missing else installed_version(modules[0]),
                f"missing: {', '.join(missing)}" if missing else None,
                install_line(extra) if missing else None,
            )
        )
    return findings


def _converters() -> list[Finding]:
    """The formats whose converters may stand in another environment, and the Python that has each."""
    findings = []
    for format in all_formats().values():
        name = f"format {format.name}"
        try:
            python = format.require()
        except PinnaceError as error:
            findings.append(Finding(name, None, error.message, error.hint))
        else:
            findings += [Finding(name, python)] if python is not None else []
    return findings
