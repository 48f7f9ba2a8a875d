"""Put the int8 of a bundle beside NNCF's, made of the same fp32 file with the same photographs.

    pinnace export efficientnet_lite0 -o e0.bundle --precision fp32,int8 --calibrate photographs/calibrate
    python benchmarks/beside_nncf.py e0.bundle photographs/calibrate photographs/evaluate

`benchmarks/photographs.py` makes both folders. NNCF gets an environment of its own, because its dependencies
are not Pinnace's: the folder of `--environment`, which is made and kept. Files that are made already are
taken as they are, so a run that was cut short goes on where it was. Answers come from ONNX Runtime; both
intervals are at 95 %, and ten views of one photograph are drawn together. Times are medians of the CPU time
of a call with one thread, all files in turns, as ratios to fp32 in the same runtime.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from agreement import Answers, divergences, in_turns, interval, ratio, same_first

from pinnace.export.calibration_images import prepare_folder
from pinnace.export.validation.accuracy import wilson
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.progress import ignore
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import Runtime, RuntimeOptions

NNCF = "nncf==3.4.0"

# What NNCF calls its two corrections of biases, and its two kinds of activations.
FILES = {
    "nncf-fast": "dict(fast_bias_correction=True)",
    "nncf-fast-mixed": "dict(fast_bias_correction=True, preset=nncf.QuantizationPreset.MIXED)",
    "nncf-bias": "dict(fast_bias_correction=False)",
}
QUANTISE = """
import sys
import nncf, numpy, onnx
source, images, out, options = sys.argv[1:]
model = onnx.load(source)
name = model.graph.input[0].name
images = numpy.load(images)
data = nncf.Dataset(list(images), lambda image: {name: image[None]})
onnx.save(nncf.quantize(model, data, subset_size=len(images), **eval(options)), out)
"""


RUNTIMES = ("onnxruntime", "openvino")
VIEWS = 10  # of one photograph, as benchmarks/photographs.py cuts them


def main() -> None:
    """Make what is missing, measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("calibrate", type=Path, help="the folder that the bundle was calibrated with")
    parser.add_argument("evaluate", type=Path, help="other photographs")
    parser.add_argument("--work", type=Path, default=Path("beside-nncf"), help="where NNCF's files go")
    parser.add_argument("--environment", type=Path, default=Path("beside-nncf/environment"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-times", action="store_true", help="only how alike the answers are")
    chosen = parser.parse_args()
    bundle = Bundle.open(chosen.bundle)
    preprocess = bundle.manifest.preprocess
    if preprocess is None:
        parser.error("the model takes no image")
    chosen.work.mkdir(parents=True, exist_ok=True)
    images = chosen.work / "calibrate.npy"
    if not images.is_file():
        np.save(images, prepare_folder(chosen.calibrate, preprocess, ignore).inputs)
    fp32 = bundle.path(bundle.variant("onnx-fp32").file)
    files = {"fp32": fp32, "pinnace": bundle.path(bundle.variant("onnx-int8").file)}
    for name, options in FILES.items():
        files[name] = chosen.work / f"{name}.onnx"
        if not files[name].is_file():
            print(f"making {files[name]}", file=sys.stderr)
            quantise(environment(chosen.environment), fp32, images, files[name], options)
    views = prepare_folder(chosen.evaluate, preprocess, ignore).inputs
    times = {}
    if not chosen.no_times:
        times = {runtime: timed(bundle, files, runtime, views, chosen.rounds) for runtime in RUNTIMES}
    show({name: answer(path, views) for name, path in files.items()}, times)


def timed(
    bundle: Bundle, files: dict[str, Path], runtime: str, views: Answers, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of a call of each file in one runtime, in turns."""
    feeds = {bundle.manifest.signature.inputs[0].name: views[:1]}
    with contextlib.ExitStack() as stack:
        runs = {name: stack.enter_context(opened(bundle, path, runtime)).run for name, path in files.items()}
        return in_turns({name: functools.partial(run, feeds) for name, run in runs.items()}, rounds)


def environment(folder: Path) -> Path:
    """The Python of an environment that has NNCF."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", NNCF, "onnx", "onnxruntime"]
        subprocess.run(pip, check=True)
    return python


def quantise(python: Path, fp32: Path, images: Path, out: Path, options: str) -> None:
    """Let NNCF write a file; it is moved into place once it is whole."""
    part = out.with_suffix(".part")
    command = [str(python), "-c", QUANTISE, str(fp32), str(images), str(part), options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    part.replace(out)


def opened(bundle: Bundle, path: Path, runtime: str) -> Runtime:
    """A file in a runtime, as Pinnace opens it, with one thread."""
    return all_runtimes()[runtime](path, bundle.manifest.signature, RuntimeOptions(threads=1))


def answer(path: Path, views: Answers) -> Answers:
    """What a file answers to each view in ONNX Runtime, shape (views, outputs)."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: view[None]})[0].reshape(1, -1) for view in views])


def show(answers: dict[str, Answers], times: dict[str, dict[str, list[float]]]) -> None:
    """Print a row for each file."""
    reference = answers.pop("fp32")
    print("| file | same first class | 95 % | KL to fp32, nats | 95 % |" + "".join(f" {r} |" for r in times))
    print("|---|---|---|---|---|" + "---|" * len(times))
    for name, found in answers.items():
        same, errors = same_first(reference, found), divergences(reference, found)
        low, high = wilson(same, len(found))
        least, most = interval(errors, VIEWS)
        row = [name, f"{same / len(found):.3f}", f"{low:.3f}..{high:.3f}", f"{errors.mean():.4f}",
               f"{least:.4f}..{most:.4f}"]  # fmt: skip
        row += [f"{ratio(each['fp32'], each[name]):.2f}" for each in times.values()]
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
