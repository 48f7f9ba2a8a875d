"""Write the table of settings in `docs/serving.md` from `pinnace.serving.settings.ServerSettings`.

    python docs/make_settings.py

A test compares the page with what this script would write.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from pinnace.cli.commands.serve import serve
from pinnace.serving.settings import ServerSettings, environment_variable

FILE = Path(__file__).with_name("serving.md")
BEGIN = "<!-- written by docs/make_settings.py -->\n"
END = "<!-- end -->\n"


def table() -> str:
    """The table as Markdown: a row for each setting, in their order."""
    told = descriptions()
    options = inspect.signature(serve).parameters
    rows = ["| variable | option | default | |", "|---|---|---|---|"]
    for name, field in ServerSettings.model_fields.items():
        option = f"`--{name.replace('_', '-')}`" if name in options else ""
        cells = (
            f"`{environment_variable(name)}`",
            "the arguments" if name == "bundle" else option,
            _default(field.default),
            told[name].replace("|", "\\|"),
        )
        rows.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(rows) + "\n"


def descriptions() -> dict[str, str]:
    """What the docstring of the class says of each setting."""
    _, _, attributes = (inspect.getdoc(ServerSettings) or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).rstrip(".") for name, text in entries}


def render() -> str:
    """The page with the table of today."""
    before, _, rest = FILE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _default(value: object) -> str:
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, tuple):
        return f"`{':'.join(map(str, value))}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower()}`"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
