"""Export the smallest network of every family of timm, and print what came of each as a table.

    python benchmarks/timm_families.py                       # every family: hours
    python benchmarks/timm_families.py resnet convnext       # these families
    python benchmarks/timm_families.py --list                # the families, and the network of each

A family is a module of `timm.models`; its smallest network is the one with the fewest weights. The weights
are random with a fixed seed and go through a file, so that each export is `file:w.pth --arch timm:NAME` as a
user would run it, with one thread. Exit status 1 where a network has neither two verified variants nor a
refusal that is a sentence.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEED = 0
_LOAD_TIMEOUT = 1200


@functools.cache
def families() -> dict[str, list[str]]:
    """The names of timm's networks by family."""
    import timm

    found: dict[str, list[str]] = {}
    for family in timm.list_modules():
        found[family] = timm.list_models(module=family)
    return {family: names for family, names in found.items() if names}


def smallest(names: list[str]) -> tuple[str, int]:
    """The network with the fewest weights, and how many those are; counted without values in them."""
    import timm
    import torch

    counts: dict[str, int] = {}
    for name in names:
        try:
            with torch.device("meta"):
                counts[name] = sum(weight.numel() for weight in timm.create_model(name).parameters())
        except Exception:  # cannot be built without values, or at all
            continue
    if not counts:
        return names[0], 0
    name = min(counts, key=lambda each: counts[each])
    return name, counts[name]


def write_weights(name: str, path: Path) -> None:
    """Save a network's random weights."""
    import timm
    import torch

    torch.manual_seed(SEED)
    torch.save(timm.create_model(name).state_dict(), path)


def export(name: str, folder: Path) -> tuple[bool, str]:
    """Export one network and verify it.

    Returns:
        Whether all is well, and a row of the table without the name.
    """
    weights, bundle = folder / "w.pth", folder / f"{name}.bundle"
    write_weights(name, weights)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pinnace.cli.main",
        "export",
        f"file:{weights}",
        "--arch",
        f"timm:{name}",
    ]
    command += ["-o", str(bundle), "--json", "--no-progress", "--load-timeout", str(_LOAD_TIMEOUT)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        sentence = len(said) == 1 and "Traceback" not in done.stderr and done.returncode in (1, 2, 3)
        return sentence, f"refused, status {done.returncode} | {seconds:.0f} | {' '.join(said)}"
    variants = json.loads(done.stdout)["variants"]
    worst = max(variant["parity"]["max_rel"] for variant in variants)
    names = ", ".join(variant["name"] for variant in variants)
    return len(variants) >= 2, f"{names} | {seconds:.0f} | {worst:.1e} of the range"


def main() -> int:
    """Print the table; 1 where a network failed without a sentence."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("families", nargs="*", help="only these")
    parser.add_argument("--list", action="store_true", help="only list them")
    options = parser.parse_args()
    known = families()
    if unknown := [name for name in options.families if name not in known]:
        parser.error(f"timm has no family {unknown[0]}")
    print("| family | network | weights | variants | seconds | worst difference, or why not |")
    print("|---|---|---|---|---|---|")
    failed = 0
    for family in options.families or known:
        name, count = smallest(known[family])
        if options.list:
            print(f"| {family} | {name} | {count / 1e6:.1f} M | | | |", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            good, row = export(name, Path(folder))
        failed += not good
        print(f"| {family} | {name} | {count / 1e6:.1f} M | {row} |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
