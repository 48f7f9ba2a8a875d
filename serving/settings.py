"""The settings of the server: environment variables that begin with `PINNACE_`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pinnace.models.errors import UsageError

PREFIX = "PINNACE_"

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What the server is told. Read it with `load_settings`, which answers in one sentence when it is wrong.

    Attributes:
        bundle: the bundle to serve.
        variant: which variant; by default the first that runs here.
        runtime: which runtime; by default the preferred one that works here.
        device: `cpu` or `cuda`; by default the one that the runtime prefers.
        host: the IP address to listen on.
        port: the port to listen on.
        workers: server processes; `auto` as `pinnace.serving.layout` says.
        concurrency: images in work at once in each process; `auto` shares out the CPUs.
        threads: CPU threads for one image.
        max_body_bytes: the largest request body.
        max_pixels: the largest image, in pixels.
        timeout: seconds for receiving a request, and again for answering it.
        grace: seconds that requests in flight have to finish once the server is told to stop.
        access_log: log one line per request.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    bundle: Path = Path("efficientnet_lite0.bundle")
    variant: str | None = None
    runtime: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 3000
    workers: Count | Auto = "auto"
    concurrency: Count | Auto = "auto"
    threads: Count = 1
    max_body_bytes: Count = 20_000_000
    max_pixels: Count = 100_000_000
    timeout: Seconds = 30.0
    grace: Count = 30
    access_log: bool = False

    def environment(self) -> dict[str, str]:
        """The settings as the environment variables that give the same settings in another process."""
        values = self.model_dump(mode="json", exclude_none=True)
        values["bundle"] = str(self.bundle.absolute())
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}


def load_settings(**overrides: object) -> Settings:
    """The settings from the environment; what is given here and not None comes first.

    Raises:
        UsageError: a setting is not valid; the message names it.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "unknown"
        # Each member of a union complains for itself: `int` first, then the literal.
        wrong = [problem for problem in error.errors() if problem["loc"][:1] == first["loc"][:1]]
        reasons = " or ".join(dict.fromkeys(_lower_first(problem["msg"]) for problem in wrong))
        raise UsageError(
            f"the setting {name} ({PREFIX}{name.upper()}) is not valid: {reasons}", got=str(first["input"])
        ) from None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
