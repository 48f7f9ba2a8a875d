"""Export networks of several families in fp32 and int8; print how alike their answers are, and how fast.

    python benchmarks/int8_families.py photographs/calibrate photographs/evaluate --work families

`benchmarks/photographs.py` makes both folders. EfficientNet-Lite0 has its ImageNet weights and is judged on
photographs. No package ships weights of the others, so each is trained here on scikit-learn's handwritten
digits, drawn at 256 pixels: 1,000 to train with, 200 to calibrate with, and 597 to judge by. So it is a
trained network, though of an easy task. Each is exported as a user would do it, once; what stands in the
work folder is not made again, so a run that was cut short goes on where it was.

`same` is the share of pictures with fp32's first class, `right` that of the digits which fp32 and int8 read
rightly, `SQNR` the ratio of signal to noise in dB (the signal is what differs between pictures). Ratios are
to fp32 in the same runtime, from the CPU time of a call with one thread, all four in turns.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
from agreement import Answers, in_turns, noise_ratio, ratio, same_first
from PIL import Image

from pinnace.export.calibration_images import prepare_folder
from pinnace.export.validation.accuracy import wilson
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.progress import ignore
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import Runtime, RuntimeOptions

PRETRAINED = "efficientnet_lite0"
# Swin's smallest network at half its width, because the whole one takes minutes a step on two CPUs.
TRAINED_HERE: dict[str, dict[str, object]] = {
    "mobilenetv3_small_100": {},
    "vit_tiny_patch16_224": {},
    "convnext_atto": {},
    "swin_tiny_patch4_window7_224": {"embed_dim": 48, "depths": (2, 2, 4, 2)},
}
SEED = 0
TRAINING, CALIBRATION = 1200, 200
BATCH = 24
MOST_EPOCHS = 30
ENOUGH = 0.97
RATE = 3e-4
RUNTIMES = ("onnxruntime", "openvino")
VARIANTS = ("onnx-fp32", "onnx-int8")


def main() -> None:
    """Make and measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("calibrate", type=Path)
    parser.add_argument("evaluate", type=Path)
    parser.add_argument("--work", type=Path, default=Path("families"))
    parser.add_argument("--only", nargs="+", help="these networks")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--recipe", default="auto", help="of int8, as for `pinnace export --int8-recipe`")
    parser.add_argument("--export-only", action="store_true", help="measure nothing yet")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    names = [name for name in (PRETRAINED, *TRAINED_HERE) if not chosen.only or name in chosen.only]
    for name in names:
        row = chosen.work / f"{name}.json"
        folder = chosen.work / f"{name}.bundle"
        if not folder.is_dir():
            export(name, folder, chosen.calibrate, chosen.work, chosen.recipe)
        if not chosen.export_only and not row.is_file() and folder.is_dir():
            pictures = chosen.evaluate if name == PRETRAINED else digits(chosen.work) / "evaluate"
            row.write_text(json.dumps(measure(Bundle.open(folder), pictures, chosen.rounds)))
    show(
        {
            name: json.loads(row.read_text())
            for name in names
            if (row := chosen.work / f"{name}.json").is_file()
        }
    )


def export(name: str, folder: Path, calibrate: Path, work: Path, recipe: str) -> None:
    """Export by command line; what it says goes to standard error."""
    source = [name]
    if name != PRETRAINED:
        weights, calibrate = work / f"{name}.pth", digits(work) / "calibrate"
        if not weights.is_file():
            train(name, digits(work), weights)
        source = [f"file:{weights}", "--arch", f"timm:{name}", "--num-classes", "10"]
        source += [word for key, value in TRAINED_HERE[name].items() for word in ("--arg", f"{key}={value}")]
    command = [sys.executable, "-m", "pinnace.cli.main", "export", *source, "-o", str(folder)]
    command += ["--format", "onnx", "--precision", "fp32,int8", "--calibrate", str(calibrate)]
    command += ["--int8-recipe", recipe]
    subprocess.run(command, check=False, stdout=sys.stderr)


def digits(work: Path) -> Path:
    """Folders `train`, `calibrate` and `evaluate` of digits; a file's name ends in what it shows."""
    folder = work / "digits"
    if folder.is_dir():
        return folder
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.images))
    making = work / "digits.making"
    for place, number in enumerate(order):
        part = "train" if place < TRAINING else "evaluate"
        (making / part).mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray((data.images[number] * 15.9).astype(np.uint8))
        canvas = Image.new("L", (256, 256))
        canvas.paste(drawn.resize((160, 160), Image.Resampling.BICUBIC), (48, 48))
        name = f"{place:04}-{data.target[number]}.png"
        canvas.save(making / part / name)
        if place < CALIBRATION:
            (making / "calibrate").mkdir(exist_ok=True)
            canvas.save(making / "calibrate" / name)
    making.rename(folder)
    return folder


def truth(files: Iterable[Path]) -> npt.NDArray[np.int64]:
    """The digit that each file shows."""
    return np.array([int(file.stem.rpartition("-")[2]) for file in files])


def train(name: str, folder: Path, path: Path) -> None:
    """Train a network from random weights until it reads the digits of the calibration, and write it."""
    import timm
    import torch

    torch.manual_seed(SEED)
    network = timm.create_model(name, num_classes=10, **TRAINED_HERE[name])
    settings = timm.data.resolve_model_data_config(network)
    size = settings["input_size"][1]
    preprocess = Preprocess(256, "bicubic", (size, size), "RGB", settings["mean"], settings["std"])
    images = prepare_folder(folder / "train", preprocess, ignore)
    inputs, classes = torch.from_numpy(images.inputs), torch.from_numpy(truth(images.files))
    steps = math.ceil((len(inputs) - CALIBRATION) / BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=MOST_EPOCHS * steps)
    for epoch in range(MOST_EPOCHS):
        network.train()
        shuffled = CALIBRATION + torch.randperm(len(inputs) - CALIBRATION)
        for batch in shuffled.split(BATCH):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(network(inputs[batch]), classes[batch])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            rates.step()
        network.eval()
        with torch.no_grad():
            found = torch.cat([network(each) for each in inputs[:CALIBRATION].split(BATCH)])
        right = float((found.argmax(1) == classes[:CALIBRATION]).float().mean())
        print(
            f"{name}: epoch {epoch + 1}, {right:.3f} of digits that it was not trained with", file=sys.stderr
        )
        if right >= ENOUGH:
            break
    torch.save(network.state_dict(), path)


def measure(bundle: Bundle, evaluate: Path, rounds: int) -> dict[str, object]:
    """The row of one network."""
    preprocess = bundle.manifest.preprocess
    assert preprocess is not None
    pictures = prepare_folder(evaluate, preprocess, ignore)
    views = pictures.inputs
    shown = truth(pictures.files) if evaluate.parent.name == "digits" else None
    variant = bundle.variant("onnx-int8")
    row: dict[str, object] = {"recipe": variant.quantisation.recipe if variant.quantisation else None}
    with ExitStack() as stack:
        opened = {
            (kind, runtime): stack.enter_context(
                all_runtimes()[runtime](
                    bundle.path(bundle.variant(kind).file),
                    bundle.manifest.signature,
                    RuntimeOptions(threads=1),
                )
            )
            for kind in VARIANTS
            for runtime in RUNTIMES
        }
        name = bundle.manifest.signature.inputs[0].name
        reference = answers(opened[VARIANTS[0], RUNTIMES[0]], name, views)
        calls = {
            f"{kind} {runtime}": functools.partial(each.run, {name: views[:1]})
            for (kind, runtime), each in opened.items()
        }
        times = in_turns(calls, rounds)
        for runtime in RUNTIMES:
            found = answers(opened["onnx-int8", runtime], name, views)
            same = same_first(reference, found)
            low, high = wilson(same, len(views))
            row[runtime] = {
                "same": same / len(views),
                "interval": [low, high],
                "right": [right(reference, shown), right(found, shown)],
                "sqnr": -10 * math.log10(max(float(noise_ratio(reference, found).mean()), 1e-12)),
                "ratio": ratio(times[f"onnx-fp32 {runtime}"], times[f"onnx-int8 {runtime}"]),
            }
    return row


def right(found: Answers, shown: npt.NDArray[np.int64] | None) -> float | None:
    """The share of first classes that are what the picture shows, where that is known."""
    return None if shown is None else float((found.argmax(axis=1) == shown).mean())


def answers(runtime: Runtime, name: str, views: Answers) -> Answers:
    """What a runtime answers to each view, shape (views, classes)."""
    outputs = [next(iter(runtime.run({name: view[None]}).values())) for view in views]
    return np.concatenate(outputs).reshape(len(views), -1).astype(np.float32)


def show(rows: dict[str, dict[str, object]]) -> None:
    """Print the table."""
    columns = ("network", "weights", "recipe", "runtime", "same first class", "95 %", "right: fp32, int8")
    print(f"| {' | '.join(columns)} | SQNR, dB | faster than fp32 |")
    print("|---" * 9 + "|")
    for name, row in rows.items():
        weights = "ImageNet" if name == PRETRAINED else "digits"
        for runtime in RUNTIMES:
            found = row[runtime]
            assert isinstance(found, dict)
            low, high = found["interval"]
            hits = "" if None in found["right"] else "{:.3f}, {:.3f}".format(*found["right"])
            print(
                f"| {name} | {weights} | {row['recipe']} | {runtime} | {found['same']:.3f} "
                f"| {low:.3f}..{high:.3f} | {hits} | {found['sqnr']:.1f} | {found['ratio']:.2f} |"
            )


if __name__ == "__main__":
    main()
