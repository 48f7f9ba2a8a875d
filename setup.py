"""Builds the compiled resize where it is asked for: `PINNACE_EXTENSION=1 pip install .`; `make install` asks.

Without it the package is pure Python, one wheel for every machine, with the same answers. A compiler that is
missing or fails is no error.
"""

import os

from setuptools import Extension, setup

WINDOW = Extension(
    "pinnace.models.image._window",
    ["models/image/_window.c"],
    extra_compile_args=["-O3", "-ffp-contract=off"],
    py_limited_api=True,
    optional=True,
)

if os.environ.get("PINNACE_EXTENSION") == "1":
    setup(ext_modules=[WINDOW], options={"bdist_wheel": {"py_limited_api": "cp310"}})
else:
    setup()
