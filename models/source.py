"""Where a model comes from: one string, parsed and printed back to the same string."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.errors import UsageError

FORMS = {
    "catalogue": "efficientnet_lite0",
    "torchvision": "torchvision:resnet50[@WEIGHTS or @none]",
    "darknet": "darknet:yolov3@WEIGHTS or @none",
    "timm": "timm:mobilenetv3_small_100[.TAG][@none]",
    "hub": "hub:owner/repo[:ref]#entry or hub:./folder#entry",
    "file": "file:PATH",
}

NO_WEIGHTS = "none"


@dataclass(frozen=True)
class Source:
    """A parsed source.

    Attributes:
        kind: which loader reads it: a key of `FORMS`.
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
        kind, colon, rest = text.partition(":")
        if not colon:
            kind, rest = "catalogue", text
        if kind not in FORMS or (kind == "catalogue") == bool(colon) or not rest:
            raise _unknown(text)
        if kind in ("torchvision", "darknet"):
            name, at, ref = rest.partition("@")
            if not name or (at and not ref):
                raise _unknown(text)
            return cls(kind, name, ref=ref or None)
        if kind == "timm" and rest.endswith(f"@{NO_WEIGHTS}"):
            name = rest.removesuffix(f"@{NO_WEIGHTS}")
            if not name:
                raise _unknown(text)
            return cls(kind, name, ref=NO_WEIGHTS)
        if kind == "hub":
            repository, hash_sign, entry = rest.rpartition("#")
            if not hash_sign or not repository or not entry:
                raise _unknown(text)
            if _is_local(repository):
                return cls(kind, repository, entry=entry)
            name, colon, ref = repository.partition(":")
            if name.count("/") != 1 or (colon and not ref):
                raise _unknown(text)
            return cls(kind, name, ref=ref or None, entry=entry)
        return cls(kind, rest)

    def __str__(self) -> str:
        text = self.name if self.kind == "catalogue" else f"{self.kind}:{self.name}"
        if self.ref is not None:
            text += f":{self.ref}" if self.kind == "hub" else f"@{self.ref}"
        return text if self.entry is None else f"{text}#{self.entry}"

    @property
    def is_local_hub(self) -> bool:
        """Whether this is a hub repository in a local folder."""
        return self.kind == "hub" and _is_local(self.name)


def _is_local(repository: str) -> bool:
    return repository.startswith((".", "/", "~"))


def _unknown(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a model source",
        expected="; ".join(FORMS.values()),
        hint="`pinnace models` lists the catalogue",
    )
