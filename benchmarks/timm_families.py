"""Export the smallest network of every family of timm, and write the table of `docs/sources.md`.

    python benchmarks/timm_families.py --results timm.jsonl                # every family: an hour or more
    python benchmarks/timm_families.py --results timm.jsonl nest twins     # these families
    python benchmarks/timm_families.py --results timm.jsonl --stop-after 100
    python benchmarks/timm_families.py --results timm.jsonl --write        # put the table into the document

A family is a module of `timm.models`; its smallest network is the one with the fewest weights. A family that
stands in the results is not done again, so a run may be interrupted and taken up; to do one again, delete its
line.

Each export is `file:weights.pth --arch timm:NAME` as a user would run it, with one thread. The weights are
random with a fixed seed. Where timm begins with zeros or nearly so (Hiera's head, the last scale of a
residual branch, LayerScale), other numbers are drawn, because what is multiplied by nothing is not compared.

Exit status 1 where a network has neither two verified variants nor a refusal that is a sentence.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SEED = 0
DOCUMENT = Path(__file__).parents[1] / "docs" / "sources.md"
BEGIN = "<!-- written by benchmarks/timm_families.py -->\n"
END = "<!-- end of what benchmarks/timm_families.py writes -->\n"

# A weight of which no number is larger hides what it is multiplied with.
_NOTHING = 1e-3

# Loading, and proving what was written, take time beside that which --load-timeout bounds.
_BESIDE = 60


@dataclass(frozen=True)
class Row:
    """What came of one family.

    Attributes:
        family: a module of `timm.models`.
        network: its smallest network.
        weights: how many it has, 0 where they could not be counted.
        seconds: what the export took.
        differences: of each variant, the largest difference from the eager model, of the outputs' range.
        exporter: which way to ONNX it was.
        error: why there is no bundle.
        sentence: that is a sentence, and the exit status one of those that are documented.
    """

    family: str
    network: str
    weights: int
    seconds: int
    differences: dict[str, float] = field(default_factory=dict)
    exporter: str = ""
    error: str = ""
    sentence: bool = True

    @property
    def good(self) -> bool:
        """Whether it was exported and proved twice, or refused in a sentence."""
        return self.sentence if self.error else len(self.differences) >= 2


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
    name = min(counts, key=lambda each: (counts[each], each))
    return name, counts[name]


def write_weights(name: str, path: Path) -> None:
    """Save a network's random weights."""
    import timm
    import torch

    torch.manual_seed(SEED)
    network = timm.create_model(name)
    draw_what_is_nothing(network)
    torch.save(network.state_dict(), path)


def draw_what_is_nothing(network: torch.nn.Module) -> None:
    """Draw the weights that are zero or nearly so; biases may be zero."""
    import torch

    with torch.no_grad():
        for name, weight in network.named_parameters():
            if not weight.is_floating_point() or name.endswith("bias") or weight.abs().max() > _NOTHING:
                continue
            if weight.ndim < 2:
                weight.uniform_(0.1, 0.3)
            else:
                weight.normal_(std=1 / math.sqrt(weight[0].numel()))


def export(family: str, timeout: float) -> Row:
    """Export the smallest network of a family, and say what came of it."""
    name, count = smallest(families()[family])
    with tempfile.TemporaryDirectory(prefix="timm-families-") as folder:
        weights = Path(folder, "weights.pth")
        write_weights(name, weights)
        command = [sys.executable, "-m", "pinnace.cli.main", "export", f"file:{weights}"]
        command += ["--arch", f"timm:{name}", "--precision", "fp32", "-o", str(Path(folder, "out.bundle"))]
        command += ["--json", "--no-progress", "--load-timeout", f"{timeout:g}"]
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                timeout=timeout + _BESIDE,
            )
        except subprocess.TimeoutExpired:
            return Row(family, name, count, round(timeout + _BESIDE), error="not done in that time")
        seconds = round(time.perf_counter() - started)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            sentence = len(said) == 1 and "Traceback" not in done.stderr and done.returncode in (1, 2, 3)
            why = " ".join(said).removeprefix("error: ").replace(folder + "/", "")
            return Row(
                family,
                name,
                count,
                seconds,
                error=why or f"exit status {done.returncode}",
                sentence=sentence,
            )
    variants = json.loads(done.stdout)["variants"]
    return Row(
        family,
        name,
        count,
        seconds,
        {each["name"]: each["parity"]["max_rel"] for each in variants},
        next((each["exporter"] for each in variants if each.get("exporter")), ""),
    )


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown, and how many were exported."""
    listed = sorted(rows, key=lambda row: row.family)
    lines = ["| family | network | weights | written by | largest difference, of the range; or why not |"]
    lines += ["|---|---|---|---|---|"]
    for row in listed:
        weights = f"{row.weights / 1e6:.1f} M" if row.weights else ""
        writer = f"`{row.exporter}`" if row.exporter else ""
        worst = f"{max(row.differences.values()):.1e}" if row.differences else row.error.replace("|", "/")
        cells = (row.family, row.network, weights, writer, worst)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    done = sum(bool(row.differences) for row in listed)
    return "\n".join([f"{done} of {len(listed)} were exported and proved.", "", *lines, ""])


def read(results: Path) -> dict[str, Row]:
    """What has been done, by family; a line that was cut off is done again."""
    rows: dict[str, Row] = {}
    for line in results.read_text(encoding="utf-8").splitlines() if results.is_file() else ():
        try:
            row = Row(**json.loads(line))
        except ValueError:
            continue
        rows[row.family] = row
    return rows


def add(results: Path, row: Row) -> None:
    """Append a row; what an interrupted run left of a line stays a line of its own."""
    before = results.read_bytes() if results.is_file() else b""
    with results.open("a", encoding="utf-8") as file:
        file.write("\n" * bool(before and before[-1:] != b"\n") + json.dumps(asdict(row)) + "\n")


def render(rows: Iterable[Row]) -> str:
    """The document with the table of these rows."""
    rows = list(rows)
    left = len(families().keys() - {row.family for row in rows})
    missing = f"\n{left} of timm's {len(families())} families were not tried yet.\n" if left else ""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(rows)}{missing}\n{END}{after}"


def waiting(asked: Iterable[str], done: Iterable[str], stop_after: float) -> Iterator[str]:
    """The families that are not done yet, until the time is over."""
    started = time.monotonic()
    for family in asked:
        if family not in done and time.monotonic() - started < stop_after:
            yield family


def main() -> int:
    """Do what is not done yet; 1 where a network failed without a sentence."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("families", nargs="*", help="only these")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines, one family a line")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one network")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds; begin none after them")
    parser.add_argument("--write", action="store_true", help="only put the table into the document")
    options = parser.parse_args()
    if options.write:
        DOCUMENT.write_text(render(read(options.results).values()), encoding="utf-8")
        return 0
    if unknown := [name for name in options.families if name not in families()]:
        parser.error(f"timm has no family {unknown[0]}")
    asked = options.families or list(families())
    for family in waiting(asked, read(options.results), options.stop_after):
        row = export(family, options.timeout)
        add(options.results, row)
        said = row.error or ", ".join(f"{name} {worst:.1e}" for name, worst in row.differences.items())
        print(f"{family}: {row.network}, {row.seconds} s: {said}", file=sys.stderr, flush=True)
    rows = read(options.results)
    print(table(rows.values()), end="")
    left = [family for family in asked if family not in rows]
    print(f"{len(left)} families are left" if left else "all are done", file=sys.stderr)
    return int(any(not rows[family].good for family in asked if family in rows))


if __name__ == "__main__":
    sys.exit(main())
