"""Where a model comes from, as data; `pinnace.models.loaders.parse_source` reads the string of it."""

from __future__ import annotations

from dataclasses import dataclass

NO_WEIGHTS = "none"
UNNAMED = "catalogue"  # the one kind that its source strings do not name


@dataclass(frozen=True)
class Source:
    """A parsed source. Its string is `[KIND:]NAME[@REF][#ENTRY]`; with an entry the ref follows a colon.

    Attributes:
        kind: which loader reads it: the name of a module in `pinnace.models.loaders`.
        name: the model's name, the repository, or the path.
        ref: weights (torchvision), their file or `none` (darknet), `none` (timm), or branch, tag or commit
            (hub), where given.
        entry: entry point of a hub repository.
    """

    kind: str
    name: str
    ref: str | None = None
    entry: str | None = None

    def __str__(self) -> str:
        text = self.name if self.kind == UNNAMED else f"{self.kind}:{self.name}"
        if self.ref is not None:
            text += f"{'@' if self.entry is None else ':'}{self.ref}"
        return text if self.entry is None else f"{text}#{self.entry}"
