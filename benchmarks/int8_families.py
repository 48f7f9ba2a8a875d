"""Export networks of several families in fp32 and int8; print how alike their answers are, and how fast.

    python benchmarks/int8_families.py photographs/calibrate photographs/evaluate --work families

`benchmarks/photographs.py` makes both folders. EfficientNet-Lite0 has its ImageNet weights. The others have
random weights with a fixed seed, statistics of their normalisations from the photographs to calibrate with,
and a head fitted by least squares to tell those photographs apart: so their answers depend on the picture,
and nothing more is claimed of them. Each network is exported as a user would do it, once; what stands in the
work folder is not made again, so a run that was cut short goes on where it was.

`same` is the share of the other photographs with fp32's first class, `SQNR` the ratio of signal to noise in
dB (the signal is what differs between photographs). Ratios are to fp32 in the same runtime, from the CPU time
of a call with one thread, all four in turns.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from agreement import Answers, in_turns, noise_ratio, ratio, same_first

from pinnace.export.calibration_images import prepare_folder
from pinnace.export.validation.accuracy import wilson
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.progress import ignore
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import Runtime, RuntimeOptions

PRETRAINED = "efficientnet_lite0"
# Swin's smallest network at half its width, because the whole one takes minutes a step on two CPUs.
RANDOM: dict[str, dict[str, object]] = {
    "mobilenetv3_small_100": {},
    "vit_tiny_patch16_224": {},
    "convnext_atto": {},
    "swin_tiny_patch4_window7_224": {"embed_dim": 48, "depths": (2, 2, 4, 2)},
}
SEED = 0
RUNTIMES = ("onnxruntime", "openvino")
VARIANTS = ("onnx-fp32", "onnx-int8")
_PULL = 1e-2


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
    names = [name for name in (PRETRAINED, *RANDOM) if not chosen.only or name in chosen.only]
    for name in names:
        row = chosen.work / f"{name}.json"
        folder = chosen.work / f"{name}.bundle"
        if not folder.is_dir():
            export(name, folder, chosen.calibrate, chosen.work, chosen.recipe)
        if not chosen.export_only and not row.is_file() and folder.is_dir():
            row.write_text(json.dumps(measure(Bundle.open(folder), chosen.evaluate, chosen.rounds)))
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
        weights = work / f"{name}.pth"
        if not weights.is_file():
            write_weights(name, calibrate, weights)
        source = [f"file:{weights}", "--arch", f"timm:{name}", "--num-classes", str(len(scenes(calibrate)))]
        source += [word for key, value in RANDOM[name].items() for word in ("--arg", f"{key}={value}")]
    command = [sys.executable, "-m", "pinnace.cli.main", "export", *source, "-o", str(folder)]
    command += ["--format", "onnx", "--precision", "fp32,int8", "--calibrate", str(calibrate)]
    command += ["--int8-recipe", recipe]
    subprocess.run(command, check=False, stdout=sys.stderr)


def scenes(folder: Path) -> list[str]:
    """The photographs of a folder of views, by name."""
    return sorted({path.stem.rpartition("-")[0] for path in folder.iterdir()})


def write_weights(name: str, calibrate: Path, path: Path) -> None:
    """Random weights, with statistics and a head that suit the photographs."""
    import timm
    import torch

    known = scenes(calibrate)
    torch.manual_seed(SEED)
    network = timm.create_model(name, num_classes=len(known), **RANDOM[name])
    settings = timm.data.resolve_model_data_config(network)
    size = settings["input_size"][1]
    preprocess = Preprocess(size, "bicubic", (size, size), "RGB", settings["mean"], settings["std"])
    images = prepare_folder(calibrate, preprocess, ignore)
    inputs = torch.from_numpy(images.inputs)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean of all batches
            module.reset_running_stats()
    with torch.no_grad():
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        for batch in inputs.split(20):
            network.forward_features(batch)
        network.eval()
        features = torch.cat(
            [
                network.forward_head(network.forward_features(each), pre_logits=True)
                for each in inputs.split(20)
            ]
        )
        classes = torch.tensor([known.index(file.stem.rpartition("-")[0]) for file in images.files])
        fit_head(network.get_classifier(), features, torch.nn.functional.one_hot(classes).float())
    torch.save(network.state_dict(), path)


def fit_head(head: object, features: object, wanted: object) -> None:
    """Ridge regression of what is wanted on standardised features, written into a linear layer."""
    x, y = (np.asarray(each, np.float64) for each in (features, wanted))
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = (x - middle) / spread
    found = np.linalg.solve(z.T @ z + _PULL * len(z) * np.eye(z.shape[1]), z.T @ (y - y.mean(axis=0)))
    weights = 10 * (found / spread[:, None]).T  # logits a few units apart
    head.weight[:] = head.weight.new_tensor(weights)  # type: ignore[attr-defined]
    head.bias[:] = head.bias.new_tensor(10 * y.mean(axis=0) - weights @ middle)  # type: ignore[attr-defined]


def measure(bundle: Bundle, evaluate: Path, rounds: int) -> dict[str, object]:
    """The row of one network."""
    preprocess = bundle.manifest.preprocess
    assert preprocess is not None
    views = prepare_folder(evaluate, preprocess, ignore).inputs
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
                "sqnr": -10 * math.log10(max(float(noise_ratio(reference, found).mean()), 1e-12)),
                "ratio": ratio(times[f"onnx-fp32 {runtime}"], times[f"onnx-int8 {runtime}"]),
            }
    return row


def answers(runtime: Runtime, name: str, views: Answers) -> Answers:
    """What a runtime answers to each view, shape (views, classes)."""
    outputs = [next(iter(runtime.run({name: view[None]}).values())) for view in views]
    return np.concatenate(outputs).reshape(len(views), -1).astype(np.float32)


def show(rows: dict[str, dict[str, object]]) -> None:
    """Print the table."""
    print("| network | weights | recipe | runtime | same first class | 95 % | SQNR, dB | faster than fp32 |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        weights = "ImageNet" if name == PRETRAINED else "random, fitted head"
        for runtime in RUNTIMES:
            found = row[runtime]
            assert isinstance(found, dict)
            low, high = found["interval"]
            print(
                f"| {name} | {weights} | {row['recipe']} | {runtime} | {found['same']:.3f} "
                f"| {low:.3f}..{high:.3f} | {found['sqnr']:.1f} | {found['ratio']:.2f} |"
            )


if __name__ == "__main__":
    main()
