"""Train a small network on scikit-learn's digits; a few seconds on a CPU.

    python train.py

writes into the working directory `digits.pt` (the weights), `labels.txt` (the class names), and `heldout/`
(the images that training never saw, as PNG files, one folder for each class), and `calibrate/` (some that it
saw).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from models.net import build
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LABELS = [f"{digit}-{name}" for digit, name in enumerate(NAMES)]
EPOCHS = 8
BATCH = 32
CALIBRATE = 200
SEED = 0


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # so small a network only waits for more of them
    digits = load_digits()
    # The data are 0 to 16. A PNG file holds 0 to 255, so training sees exactly what the files will hold.
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    train_images, heldout_images, train_classes, heldout_classes = train_test_split(
        images, digits.target, test_size=0.25, stratify=digits.target, random_state=SEED
    )

    model = build()
    train(model, network_input(train_images), torch.from_numpy(train_classes))
    classes = predict(model, network_input(heldout_images))
    right = int((classes == heldout_classes).sum())
    print(f"held-out accuracy: {right} of {len(classes)} = {right / len(classes):.2%}")

    torch.save(model.state_dict(), "digits.pt")
    Path("labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    write_images(Path("heldout"), heldout_images, heldout_classes)
    write_images(Path("calibrate"), train_images[:CALIBRATE], train_classes[:CALIBRATE])
    print(f"wrote digits.pt, labels.txt, {len(classes)} images in heldout/ and {CALIBRATE} in calibrate/")


def network_input(images: np.ndarray) -> torch.Tensor:
    """uint8 images (count, 8, 8) as float32 (count, 1, 8, 8), normalised as preprocess.toml says."""
    spec = tomllib.loads(Path(__file__).with_name("preprocess.toml").read_text())
    pixels = torch.from_numpy(images)[:, None].float() / 255
    return (pixels - torch.tensor(spec["mean"])) / torch.tensor(spec["std"])


def train(model: nn.Module, inputs: torch.Tensor, classes: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs)).split(BATCH):
            loss = nn.functional.cross_entropy(model(inputs[chosen]), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def predict(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    model.eval()
    with torch.inference_mode():
        return model(inputs).argmax(dim=1).numpy()


def write_images(folder: Path, images: np.ndarray, classes: np.ndarray) -> None:
    """An ImageFolder tree: `folder/LABEL/NUMBER.png`."""
    for number, (image, label) in enumerate(zip(images, classes, strict=True)):
        path = folder / LABELS[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


if __name__ == "__main__":
    main()
