"""What can go wrong between a client and a server.

ServerError
 ├─ Unreachable     no connection can be made
 ├─ NoAnswer        connected, but no answer comes, or only part of one
 ├─ Refused         the server answers with an error of its own: status, code, hint
 └─ BadAnswer       what answers is not a Pinnace server
"""

from __future__ import annotations

from pinnace.models.errors import ImageError, ImageTooLarge, ServerError, UnsupportedImage

_IMAGE_CODES = (ImageError.code, UnsupportedImage.code, ImageTooLarge.code)
_TOO_LARGE = 413


class Unreachable(ServerError):
    """No connection to the server can be made."""


class NoAnswer(ServerError):
    """The server does not answer in time, or closes the connection before it has answered."""


class BadAnswer(ServerError):
    """What answers is not a Pinnace server."""


class Refused(ServerError):
    """The server answered with an error.

    Attributes:
        status: the HTTP status; None where it is one image of a batch that is refused, not the request.
        code: the kind of error, such as `undecodable_image`; see docs/serving.md.
        hint: the server's advice, or None.
    """

    # The tree gives every class one code; here it is the server's, which the answer decides.
    code: str  # type: ignore[misc]

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        code: str = ServerError.code,
    ) -> None:
        super().__init__(message, expected=expected, got=got, hint=hint)
        self.status = status
        self.code = code

    @property
    def is_about_the_image(self) -> bool:
        """Whether the image is at fault: damaged, too large, or of a type that is not accepted."""
        # A proxy in front of the server may refuse a large body with a code of its own.
        return self.code in _IMAGE_CODES or self.status == _TOO_LARGE

    @property
    def is_temporary(self) -> bool:
        """Whether the same request could succeed later."""
        return self.status is not None and (self.status in (408, 429) or self.status >= 500)
