"""Builds the compiled resize where it is asked for: `PINNACE_EXTENSION=1 pip install .`; `make install` asks.

Where the headers of libjpeg-turbo are, it decodes the window of a JPEG too, with the library that Pillow
brings. Without it the package is pure Python, one wheel for every machine, with the same answers. A compiler
that is missing or fails is no error.
"""

import os

from setuptools import Extension, setup

WINDOW = Extension(
    "pinnace.models.image._window",
    ["models/image/_window.c", "models/image/_jpeg.c"],
    depends=["models/image/_jpeg.h"],
    extra_compile_args=["-O3", "-ffp-contract=off", "-fvisibility=hidden"],
    py_limited_api=True,
    optional=True,
)

if os.environ.get("PINNACE_EXTENSION") == "1":
    setup(ext_modules=[WINDOW], options={"bdist_wheel": {"py_limited_api": "cp310"}})
else:
    setup()
