"""Export torchvision's models at random weights, and print for how many there are two verified variants.

    python benchmarks/torchvision_zoo.py                    # every classification model: hours
    python benchmarks/torchvision_zoo.py resnet18 vit_b_16  # these
    python benchmarks/torchvision_zoo.py --one-per-family

Each export and its `pinnace verify` run as a user would run them. Exit status 1 where one has neither two
verified variants nor a refusal that is a sentence.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def classifiers() -> list[str]:
    """The names of torchvision's classification models."""
    import torchvision.models

    return list(torchvision.models.list_models(module=torchvision.models))


def one_per_family(names: list[str]) -> list[str]:
    """The first name of each family: what stands before the first digit or underscore."""
    families: dict[str, str] = {}
    for name in names:
        families.setdefault(re.split(r"[\d_]", name)[0], name)
    return list(families.values())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `pinnace` with this interpreter."""
    return subprocess.run(
        [sys.executable, "-m", "pinnace.cli.main", *arguments], capture_output=True, text=True, check=False
    )


def export(name: str, folder: Path) -> tuple[bool, str]:
    """Export one model and verify it.

    Returns:
        Whether all is well, and a row of the table without the name.
    """
    bundle = folder / f"{name}.bundle"
    started = time.perf_counter()
    done = run("export", f"torchvision:{name}@none", "-o", str(bundle), "--json", "--no-progress")
    seconds = time.perf_counter() - started
    try:
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            sentence = len(said) == 1 and "Traceback" not in done.stderr and done.returncode in (1, 2, 3)
            return sentence, f"refused, status {done.returncode} | {seconds:.0f} | {' '.join(said)}"
        variants = json.loads(done.stdout)["variants"]
        verified = run("verify", str(bundle), "--json").returncode == 0
        worst = max(variant["parity"]["max_rel"] for variant in variants)
        names = ", ".join(variant["name"] for variant in variants)
        good = verified and len(variants) >= 2
        return good, f"{names} | {seconds:.0f} | {worst:.1e}{'' if verified else ' NOT VERIFIED'}"
    finally:
        shutil.rmtree(bundle, ignore_errors=True)


def main() -> None:
    """Print one row of a Markdown table for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one-per-family", action="store_true")
    options = parser.parse_args()
    names = options.names or classifiers()
    if options.one_per_family:
        names = one_per_family(names)
    print("| model | variants | seconds | worst difference, of the range |\n|---|---|---|---|")
    well = 0
    with tempfile.TemporaryDirectory(prefix="pinnace-zoo-") as folder:
        for name in names:
            good, row = export(name, Path(folder))
            well += good
            print(f"| {name} | {row} |", flush=True)
    print(f"\n{well} of {len(names)} are well")
    sys.exit(well != len(names))


if __name__ == "__main__":
    main()
