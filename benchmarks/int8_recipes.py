"""Judge the recipes of int8, and the race between them, on photographs that none of them has seen.

    pinnace export efficientnet_lite1 -o e1.bundle --precision fp32
    python benchmarks/int8_recipes.py e1.bundle photographs/calibrate photographs/evaluate --work e1.json

Every recipe makes the graph twice: with all photographs of the first folder, as an export without a race
does, and with those that a race lets it see. The race chooses by those that it holds out. All are judged on
the second folder, against fp32 in ONNX Runtime: the share with the same first class, and the divergence of
the classes in nats with its 95 % interval, ten views of a photograph drawn together. Seconds are CPU time of
this process with all its threads. What is measured is kept in the file of --work, and not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
from agreement import divergences, interval, same_first

from pinnace.export.calibration_images import prepare_folder
from pinnace.export.precision import calibration, gptq, graphs, qdq, race, sensitivity
from pinnace.export.precision.base import ConversionInput
from pinnace.export.precision.recipes import all_recipes
from pinnace.export.precision.recipes.base import CalibratedNetwork
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.progress import ignore

VIEWS = 10  # of one photograph, as benchmarks/photographs.py cuts them


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("calibrate", type=Path)
    parser.add_argument("evaluate", type=Path, help="other photographs")
    parser.add_argument("--work", type=Path, required=True, help="what is measured so far; made")
    chosen = parser.parse_args()
    bundle = Bundle.open(chosen.bundle)
    rows: dict[str, Any] = json.loads(chosen.work.read_text()) if chosen.work.is_file() else {}
    preprocess, signature = bundle.preprocess, bundle.manifest.signature
    images = prepare_folder(chosen.calibrate, preprocess, ignore).inputs
    views = prepare_folder(chosen.evaluate, preprocess, ignore).inputs
    name = signature.inputs[0].name
    path = bundle.path(bundle.variant("onnx-fp32").file)
    material = ConversionInput(path, {}, name, images, one_class=True)
    seen, held_out = race.hold_out(material)
    assert held_out is not None
    reference = sensitivity.answers(onnx.load(str(path)), name, views)
    for kind, some in (("all", material), ("race", seen)):
        if all(f"{kind} {recipe}" in rows for recipe in all_recipes()):
            continue
        began = time.process_time()
        network = calibrated(some)
        spent = time.process_time() - began
        rows[f"{kind} before"] = {"seconds": spent, "left out": list(network.left_out)}
        held = sensitivity.answers(network.base, name, held_out)
        for recipe in all_recipes().values():
            began = time.process_time()
            model = recipe.make(network)
            spent = time.process_time() - began
            if model is None:
                continue
            answers = sensitivity.answers(model, name, views)
            errors = divergences(reference, answers)
            row = {
                "seconds": spent,
                "same": same_first(reference, answers) / len(views),
                "divergence": float(errors.mean()),
                "interval": interval(errors, VIEWS),
                "of each": errors.tolist(),
            }
            if kind == "race":
                row["held out"] = (
                    race.divergences(held, sensitivity.answers(model, name, held_out)).mean().item()
                )
            rows[f"{kind} {recipe.name}"] = row
            chosen.work.write_text(json.dumps(rows))
    show(rows)


def calibrated(material: ConversionInput) -> CalibratedNetwork:
    """What the recipes start from, as `precision.int8.convert` makes it."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        qdq.prepare(material.path, prepared)
        base = onnx.shape_inference.infer_shapes(onnx.load(str(prepared)))
    graphs.name_nodes(base)
    ranges = calibration.ranges_of(base, material)
    everything = qdq.quantise(base, ranges, False, ())
    integers = gptq.round_weights(base, everything, material)
    gptq.put(everything, integers)
    again = qdq.Requantiser(base, ranges, False, everything)
    left_out = sensitivity.nodes_to_leave_out(base, again, material)
    return CalibratedNetwork(base, ranges, material, False, integers, left_out)


def show(rows: dict[str, Any]) -> None:
    """Print the table."""
    print("| photographs | recipe | same first class | divergence, nats | 95 % | held out | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for key, row in rows.items():
        kind, what = key.split()
        if what == "before":
            print(f"| {kind} | (before) | | | | | {row['seconds']:.0f} |")
            continue
        low, high = row["interval"]
        held = f"{row['held out']:.4f}" if "held out" in row else ""
        print(
            f"| {kind} | {what} | {row['same']:.3f} | {row['divergence']:.4f} | {low:.4f}..{high:.4f} "
            f"| {held} | {row['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
