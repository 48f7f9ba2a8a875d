"""The errors of Pinnace: one tree, each class with its exit status and its HTTP status.

PinnaceError                    2  500  internal
 ├─ UsageError                  2  422  invalid_parameter
 ├─ SourceError                 2  422  invalid_source
 ├─ BundleError                 2  500  invalid_bundle
 ├─ CheckFailed                 1  500  check_failed
 ├─ MissingDependency           3  503  missing_dependency
 ├─ ImageError                  2  400  undecodable_image
 │   ├─ UnsupportedImage        2  415  unsupported_image_type
 │   └─ ImageTooLarge           2  413  image_too_large
 └─ ServerError                 2  502  server_error
"""

from __future__ import annotations

import re
from typing import ClassVar


class PinnaceError(Exception):
    """What went wrong, in one sentence, with what was expected, what was found, and what to do.

    Attributes:
        message: one sentence that names the thing that is wrong.
        expected: what would have been right, where that helps.
        got: what was found instead.
        hint: what the user can do now.
    """

    exit_status: ClassVar[int] = 2
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, expected: str | None = None, got: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        for label, text in (("expected", self.expected), ("got", self.got), ("help", self.hint)):
            if text is not None:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, str | None]:
        """The error as plain data: class name and fields; see `from_dict`."""
        return {
            "class": type(self).__name__,
            "message": self.message,
            "expected": self.expected,
            "got": self.got,
            "hint": self.hint,
        }

    def http_body(self) -> dict[str, dict[str, str | None]]:
        """The body of an HTTP error: `{"error": {"code", "message", "hint"}}`."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class UsageError(PinnaceError):
    """An argument, option, setting or request parameter is wrong."""

    http_status = 422
    code = "invalid_parameter"


class SourceError(PinnaceError):
    """A model source cannot be found, reached or loaded."""

    http_status = 422
    code = "invalid_source"


class BundleError(PinnaceError):
    """A bundle is missing, incomplete, or of another schema version."""

    code = "invalid_bundle"


class CheckFailed(PinnaceError):
    """A check ran and did not pass: parity, a file's hash, accuracy, a latency target."""

    exit_status = 1
    code = "check_failed"


class MissingDependency(PinnaceError):
    """A package or device that this step needs is not here; the hint is the line that installs it."""

    exit_status = 3
    http_status = 503
    code = "missing_dependency"


class ImageError(PinnaceError):
    """The bytes are no image that can be decoded."""

    http_status = 400
    code = "undecodable_image"


class UnsupportedImage(ImageError):
    """The bytes are not of an image type that is accepted."""

    http_status = 415
    code = "unsupported_image_type"


class ImageTooLarge(ImageError):
    """The image has more bytes or pixels than the limit allows."""

    http_status = 413
    code = "image_too_large"


class ServerError(PinnaceError):
    """A server did not answer, or answered with an error."""

    http_status = 502
    code = "server_error"


def error_lines(error: BaseException) -> list[str]:
    """What an exception says, line by line and without blank ones; the name of its class if it says nothing.

    Most libraries say what is wrong in their first line; OpenVINO begins with its own source files, and says
    it in its last.
    """
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


def without_number(reason: str) -> str:
    """What went wrong, as the system says it, without its number: `[Errno 111] Connection refused`."""
    return re.sub(r"^\[Errno -?\d+\] ", "", reason)


def from_dict(data: dict[str, str | None]) -> PinnaceError:
    """Rebuild an error that crossed a process boundary with `PinnaceError.to_dict`."""
    tree: list[type[PinnaceError]] = [PinnaceError]
    for cls in tree:
        tree.extend(cls.__subclasses__())
    by_name = {cls.__name__: cls for cls in tree}
    cls = by_name.get(data["class"] or "", PinnaceError)
    return cls(data["message"] or "", expected=data["expected"], got=data["got"], hint=data["hint"])
