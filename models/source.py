"""Where a model comes from: one string, parsed and printed back to the same string."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.errors import UsageError

NO_WEIGHTS = "none"


@dataclass(frozen=True)
class Source:
    """A parsed source.

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

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read a source string.

        Raises:
            UsageError: the string has none of the known forms.
        """
        from pinnace.models.loaders import all_loaders

        loaders = all_loaders()
        kind, colon, rest = text.partition(":")
        loader = loaders.get(kind) if colon else next(each for each in loaders.values() if each.bare)
        if loader is None or (loader.bare and colon):
            raise _unknown(text)
        found = loader.parse(rest if colon else text)
        if found is None or not found[0]:
            raise _unknown(text)
        name, ref, entry = found
        return cls(loader.kind, name, ref, entry)

    def __str__(self) -> str:
        from pinnace.models.loaders import all_loaders

        loader = all_loaders()[self.kind]
        text = loader.join(self.name, self.ref, self.entry)
        return text if loader.bare else f"{self.kind}:{text}"


def _unknown(text: str) -> UsageError:
    from pinnace.models.loaders import all_loaders

    return UsageError(
        f"{text!r} is not a model source",
        expected="; ".join(loader.form for loader in all_loaders().values()),
        hint="`pinnace models` lists the catalogue",
    )
