"""Export the smallest model of every timm family at seeded random weights, for the table of docs/sources.md.

    python benchmarks/timm_families.py --results timm.jsonl              # every family: hours
    python benchmarks/timm_families.py --results timm.jsonl nest twins   # these
    python benchmarks/timm_families.py --results timm.jsonl --table      # what has been done, as Markdown

A family is a module of timm. What stands in the results is not done again, so that a run may be interrupted.
Each export runs as a user would run it: `pinnace export file:weights.pth --arch timm:NAME`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def smallest(family: str) -> str | None:
    """The model of a family with the fewest parameters; None where the family has none of its own."""
    import timm
    import torch

    sizes: dict[str, int] = {}
    with torch.device("meta"):
        for name in timm.list_models(module=family):
            try:
                sizes[name] = sum(weight.numel() for weight in timm.create_model(name).parameters())
            except Exception:  # some compute with their weights while they are built, which meta cannot
                continue
    if not sizes:  # then by the order in which timm lists them
        return next(iter(timm.list_models(module=family)), None)
    return min(sizes, key=lambda name: (sizes[name], name))


def export(name: str, folder: Path, timeout: float) -> dict[str, Any]:
    """Export one model, and say what came of it."""
    import timm
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model(name).state_dict(), folder / "weights.pth")
    command = [sys.executable, "-m", "pinnace.cli.main", "export", str(folder / "weights.pth")]
    command[-1] = f"file:{command[-1]}"
    command += ["--arch", f"timm:{name}", "--precision", "fp32", "-o", str(folder / "out.bundle")]
    command += ["--json", "--no-progress", "--load-timeout", f"{timeout:g}"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"model": name, "seconds": round(time.perf_counter() - started)}
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return row | {"error": " ".join(said) or f"exit status {done.returncode}"}
    bundle = json.loads(done.stdout)
    return row | {
        "variants": {each["name"]: each["parity"]["max_rel"] for each in bundle["variants"]},
        "exporter": next((each["exporter"] for each in bundle["variants"] if each.get("exporter")), None),
        "notes": [note for note in bundle.get("notes", []) if "float64" in note or "was written by" in note],
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as Markdown, and how many were exported."""
    lines = ["| family | model | variants | written by | worst difference, of the range | seconds |"]
    lines += ["|---|---|---|---|---|---|"]
    done = count = 0
    for row in sorted(rows, key=lambda row: str(row["family"])):
        count += 1
        variants = row.get("variants", {})
        done += bool(variants)
        names = ", ".join(variants) if variants else row["error"].replace("|", "/")
        worst = f"{max(variants.values()):.1e}" if variants else ""
        writer = f"`{row['exporter']}`" if row.get("exporter") else ""
        lines.append(
            f"| {row['family']} | {row['model']} | {names} | {writer} | {worst} | {row['seconds']} |"
        )
    return "\n".join([*lines, "", f"{done} of {count} families were exported and proved."])


def read(results: Path) -> dict[str, dict[str, Any]]:
    """What has been done, by family; a line that was cut off is done again."""
    rows: dict[str, dict[str, Any]] = {}
    for line in results.read_text(encoding="utf-8").splitlines() if results.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["family"]] = row
    return rows


def main() -> None:
    """Export what is not done yet; exit status 1 where a family that was asked for was not exported."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines, one family a line")
    parser.add_argument("--load-timeout", type=float, default=600)
    parser.add_argument("--table", action="store_true", help="print what has been done, and do no more")
    options = parser.parse_args()
    if not options.table:
        import timm

        rows = read(options.results)
        for family in options.families or timm.list_modules():
            name = None if family in rows else smallest(family)
            if name is None:
                continue
            with tempfile.TemporaryDirectory(prefix="pinnace-timm-") as folder:
                row = {"family": family, **export(name, Path(folder), options.load_timeout)}
            with options.results.open("a", encoding="utf-8") as file:
                file.write(("" if _ends(options.results) else "\n") + json.dumps(row) + "\n")
            print(f"{family}: {name}: {row.get('error') or 'well'}", file=sys.stderr, flush=True)
    rows = read(options.results)
    print(table(rows.values()))
    asked = options.families or list(rows)
    sys.exit(any("error" in rows[family] for family in asked if family in rows))


def _ends(path: Path) -> bool:
    """Whether a file is empty or ends in a newline."""
    return not path.stat().st_size or path.read_bytes().endswith(b"\n")


if __name__ == "__main__":
    main()
