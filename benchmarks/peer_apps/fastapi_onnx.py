"""FastAPI and ONNX Runtime: one process for each CPU, and a thread of the pool for each request."""

from typing import Any

from fastapi import FastAPI, UploadFile
from pipeline import Pipeline

app = FastAPI()
pipeline = Pipeline()


@app.post("/classify")
def classify(image: UploadFile) -> dict[str, Any]:
    """Classify a form's image."""
    return pipeline(image.file)
