"""Make `models/photographs/*.jpg` from scikit-image's CC0 pictures; needs scikit-image==0.26.0."""

from pathlib import Path

import skimage
from PIL import Image

FOLDER = Path(__file__).parents[2] / "models" / "photographs"
PICTURES = {"cat": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}
LONG_EDGE = 360

if __name__ == "__main__":
    for name, file in PICTURES.items():
        image = Image.open(Path(skimage.__file__).parent / "data" / file).convert("RGB")
        image.thumbnail((LONG_EDGE, LONG_EDGE), Image.Resampling.LANCZOS)
        image.save(FOLDER / f"{name}.jpg", quality=85, optimize=True)
