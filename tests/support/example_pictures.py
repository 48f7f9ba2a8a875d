"""Draw the page's two example pictures, `serving/page/example-*.jpg`; needs Pillow alone.

python tests/support/example_pictures.py
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).parents[2] / "serving" / "page"
SIZE = (400, 300)
SCALE = 4  # drawn larger and scaled down, for smooth edges


def gradient(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    """A picture that goes from one colour to another."""
    ramp = Image.linear_gradient("L").resize((SIZE[0] * SCALE, SIZE[1] * SCALE))
    return Image.composite(Image.new("RGB", ramp.size, bottom), Image.new("RGB", ramp.size, top), ramp)


def shadow(picture: Image.Image, box: tuple[float, float, float, float], blur: float, depth: int) -> None:
    """Darken an ellipse with soft edges."""
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse([SCALE * value for value in box], fill=depth)
    mask = mask.filter(ImageFilter.GaussianBlur(blur * SCALE))
    picture.paste(Image.new("RGB", picture.size, "black"), mask=mask)


def circle(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: str, rim: str | None = None
) -> None:
    """A disc, with a rim of another colour."""
    x, y = centre
    box = [SCALE * value for value in (x - radius, y - radius, x + radius, y + radius)]
    draw.ellipse(box, fill=fill, outline=rim, width=2 * SCALE if rim else 0)


def clock() -> Image.Image:
    """A clock on a wall, at ten past ten."""
    picture = gradient((222, 214, 200), (190, 180, 164))
    centre = (200.0, 150.0)
    shadow(picture, (88, 50, 328, 290), 10, 120)
    draw = ImageDraw.Draw(picture)
    circle(draw, centre, 122, "#3b2a1e")
    circle(draw, centre, 116, "#6e4b30")
    circle(draw, centre, 106, "#3b2a1e")
    circle(draw, centre, 103, "#f7f3e8")

    def hand(degrees: float, start: float, end: float, width: float, colour: str) -> None:
        angle = math.radians(degrees - 90)
        points = [
            (SCALE * (centre[0] + r * math.cos(angle)), SCALE * (centre[1] + r * math.sin(angle)))
            for r in (start, end)
        ]
        draw.line(points, fill=colour, width=round(width * SCALE))

    for minute in range(60):
        hand(6 * minute, 92, 99, 3 if minute % 5 == 0 else 1, "#222222")
    for hour in range(1, 13):
        angle = math.radians(30 * hour - 90)
        at = (SCALE * (centre[0] + 78 * math.cos(angle)), SCALE * (centre[1] + 78 * math.sin(angle)))
        draw.text(at, str(hour), fill="#222222", font_size=20 * SCALE, anchor="mm")
    hand(305, -14, 50, 7, "#181818")
    hand(60, -18, 80, 5, "#181818")
    hand(200, -22, 86, 1.5, "#b3261e")
    circle(draw, centre, 5, "#b3261e")
    return picture


def lights() -> Image.Image:
    """A traffic light that shows red, against the sky."""
    picture = gradient((110, 160, 214), (208, 226, 240))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([SCALE * value for value in (193, 240, 207, 300)], fill="#4a4f54")
    draw.rounded_rectangle([SCALE * value for value in (148, 14, 252, 262)], 14 * SCALE, fill="#17191b")
    draw.rounded_rectangle([SCALE * value for value in (153, 19, 247, 257)], 11 * SCALE, fill="#26292c")
    for y, lamp, rim in (
        (58, "#ff2a1c", "#5d0d08"),
        (138, "#4a3a12", "#15120a"),
        (218, "#12401f", "#08130c"),
    ):
        circle(draw, (200, y), 35, "#0c0d0e")
        circle(draw, (200, y), 31, lamp, rim)
    glow = Image.new("L", picture.size)
    ImageDraw.Draw(glow).ellipse([SCALE * value for value in (176, 34, 216, 70)], fill=170)
    glow = glow.filter(ImageFilter.GaussianBlur(9 * SCALE))
    picture.paste(Image.new("RGB", picture.size, "#ffb3a0"), mask=glow)
    for y in (58, 138, 218):  # the hoods above the lamps
        box = [SCALE * value for value in (161, y - 41, 239, y + 37)]
        draw.arc(box, 195, 345, fill="#050606", width=9 * SCALE)
    return picture


EXAMPLES = {"example-clock.jpg": clock, "example-lights.jpg": lights}


def draw(name: str) -> Image.Image:
    """An example, at its final size."""
    return EXAMPLES[name]().resize(SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name in EXAMPLES:
        draw(name).save(folder / name, quality=85, optimize=True)
