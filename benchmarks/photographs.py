"""Make folders of real photographs for `--calibrate` and `--images` out of Python packages that ship some.

    pip download --no-deps -d wheels scikit-image==0.26.0 foolbox==3.3.4 imgaug==0.4.0 scikit-learn==1.9.1
    python benchmarks/photographs.py wheels photographs

`photographs/calibrate` and `photographs/evaluate` never show the same scene: photographs are dealt out, and
only then cut into views (the whole, and four corners of 70 % of its edges; each also mirrored).
`photographs/labelled` has the whole photographs of ImageNet that come with their class, one folder for each.
The three that Pinnace keeps as golden inputs are dealt to the calibration.
"""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

# Photographs, and not the diagrams, masks and pages of text that stand beside them.
CHOSEN = re.compile(
    r"foolbox/data/imagenet_\d+_(?P<label>\d+)\.jpg"
    r"|imgaug/quokka\.jpg"
    r"|skimage/data/(astronaut|brick|camera|chelsea|clock_motion|coffee|coins|grass|gravel|hubble_deep_field|ihc"
    r"|moon|motorcycle_left|retina|rocket)\.(png|jpg)"
    r"|sklearn/datasets/images/(china|flower)\.jpg"
)
GOLDEN = ("chelsea", "coffee", "rocket")
SHARE = 0.7


def main() -> None:
    """Write the folders and say how many files they have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheels", type=Path, help="folder of .whl files")
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    seen = {"calibrate": 0, "evaluate": 0}
    for name, label, photograph in sorted(read(chosen.wheels), key=lambda found: found[0]):
        fewest = min(seen, key=lambda kind: seen[kind])
        kind = "calibrate" if name in GOLDEN else fewest
        seen[kind] += 1
        folder = chosen.out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number, view in enumerate(views(photograph)):
            view.save(folder / f"{name}-{number}.jpg", quality=95)
        if label is not None:
            folder = chosen.out / "labelled" / label
            folder.mkdir(parents=True, exist_ok=True)
            photograph.save(folder / f"{name}.jpg", quality=95)
    for kind, count in seen.items():
        print(f"{kind}: {count} photographs, {len(list((chosen.out / kind).iterdir()))} views")


def read(wheels: Path) -> Iterator[tuple[str, str | None, Image.Image]]:
    """Name, ImageNet class where it is known, and pixels of each photograph in a folder of wheels."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if match := CHOSEN.fullmatch(member):
                    image = Image.open(io.BytesIO(archive.read(member))).convert("RGB")
                    yield Path(member).stem, match["label"], image


def views(image: Image.Image) -> Iterator[Image.Image]:
    """The whole and its four corners, each followed by its mirror image."""
    width, height = (round(SHARE * edge) for edge in image.size)
    right, bottom = image.width - width, image.height - height
    boxes = [(x, y, x + width, y + height) for y in (0, bottom) for x in (0, right)]
    for view in (image, *(image.crop(box) for box in boxes)):
        yield view
        yield ImageOps.mirror(view)


if __name__ == "__main__":
    main()
