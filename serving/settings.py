"""The settings of the server: options, environment variables that begin with `PINNACE_`, a TOML file."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pinnace.models.bundle.signing import TRUSTED_KEY
from pinnace.models.devices import Device
from pinnace.models.errors import UsageError
from pinnace.models.proposal import proposal
from pinnace.models.toml import read_toml
from pinnace.models.urls import is_uri, without_secrets

PREFIX = "PINNACE_"
CONFIG = f"{PREFIX}CONFIG"
CONFIG_FILE = "pinnace.toml"  # read where it stands in the working folder, and no other file is named

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


# A URL, in which `:` stands before a port and in a name and password too, or whatever has none.
_PLACES = re.compile(
    r"[a-z][a-z0-9+.-]+://(?:[^@/]*@)?(?:\[[0-9a-f:]+\]|[^:/]*)(?::\d+(?=[:/]|$))?(?:/[^:]*)?|[^:]+"
    if os.pathsep == ":"
    else f"[^{os.pathsep}]+"
)


def _split(value: object) -> object:
    """Several paths in one string: separated as in `$PATH`, or a JSON list."""
    if isinstance(value, Path):
        return (value,)
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return json.loads(value)
    return [part for part in _PLACES.findall(value) if part]


def _folder_or_url(value: object) -> object:
    """A folder as a path; a URL stays text, whose slashes a path would lose."""
    return Path(value) if isinstance(value, str) and not is_uri(value) else value


def _join(places: tuple[Path | str, ...]) -> str:
    texts = [place if isinstance(place, str) else str(place.absolute()) for place in places]
    return json.dumps(texts) if any(os.pathsep in text for text in texts) else os.pathsep.join(texts)


def _split_names(value: object) -> object:
    """Several names in one string, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
Place = Annotated[Path | str, BeforeValidator(_folder_or_url)]
Places = Annotated[tuple[Place, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]


class ServerSettings(BaseSettings):
    """The settings of the server. Read them with `load_settings`: its errors name the setting and its source.

    Attributes:
        bundle: the bundles to serve, folders or URLs, separated by `:`; the first answers where a request
            names no model.
        watch: seconds after which it is looked, again and again, whether another bundle stands where one came
            from; if so it is checked and takes its place. By default nothing is looked for.
        trusted_key: a file with one or several Ed25519 public keys; where it is set, only bundles that one of
            them has signed are served.
        shadow: a second bundle, which is asked about a share of the images after they are answered; metrics
            count where it disagrees.
        shadow_share: of the images, the share that the shadow is asked about.
        record: a folder, or the URL of one in a store such as S3, to which a row for each answer is written.
        record_share: of the answers, the share that is recorded.
        record_images: keep the images too, as they came in.
        record_max: the most bytes of the record; the oldest images go first, then rows.
        record_seconds: after so many seconds at the latest, a row is in the record.
        beside: more variants of the first bundle, separated by commas, each of which is served too, under the
            name `NAME@VARIANT`: to be compared with each other.
        variant: which variant of each bundle, such as `onnx-fp32`; by default the first that runs here.
        runtime: which runtime, such as `onnxruntime`; by default the preferred one that works here.
        profile: use what `pinnace tune` found best for the bundle on this machine, where there is one bundle,
            neither `variant` nor `runtime` is set, and no `device` that it does not run on.
        device: `cpu`, `cuda`, `gpu`, `npu` or `auto`; by default the one that the runtime prefers.
        host: the address to listen on.
        port: the port to listen on.
        metrics_port: a port on which the metrics are answered without the API key, and nothing else is.
        workers: server processes; `auto` is one for every CPU, and one on a GPU.
        concurrency: images in work at once in each process; `auto` is its share of the CPUs, and more while
            others leave theirs.
        threads: CPU threads for one image: more make one image faster and all of them slower.
        max_batch: images that the model gets at once, of those that wait; `auto` is 1 on a CPU, 16 on a GPU.
            With a number, as many images at least are in work at once in each process.
        max_body_bytes: the largest request body, and the largest image of a batch; refused while it is read.
        max_batch_bytes: the largest body of a batch.
        max_batch_images: the most images in a batch.
        max_buffered_bytes: bytes of request bodies that one process holds at once.
        max_decoded_bytes: bytes that decoding the images in work takes in one process; an image that takes
            more alone is refused with 413, and one for which others leave no room with 503.
        max_pixels: the largest image, in pixels; refused from its header, before it is decoded.
        max_top_k: the most classes that a request may ask for; by default all that the model has.
        threshold: from which score on a label counts as true, in models of which several labels may be; by
            default what each bundle says.
        max_header_bytes: the longest request line and headers together.
        max_connections: connections open at once in each process; for the next one, one that is idle or slow
            is closed, or it gets 503.
        queue: images that wait in each process; when as many do, requests are refused with 503.
        header_timeout: seconds for receiving the request line and headers.
        upload_timeout: seconds for receiving a request body.
        timeout: seconds for answering a request that has arrived.
        write_timeout: seconds for the client to take an answer.
        idle_timeout: seconds for which a connection stays open between two requests.
        api_key: what a request must bring, if anything.
        api_keys: more such keys, separated by commas or in lines: one for each client, or a new one while the
            old one still holds.
        cors_origins: origins whose pages may call the server, separated by commas, or `*`; none by default.
        explain: answer `POST /explain`, which runs the model once for each field of a grid over the image.
        drain: seconds for which a server that is told to stop still takes new requests.
        grace: seconds that requests in flight have to finish once the server is told to stop.
        access_log: log one line per request on standard error.
        torchserve: answer the routes of TorchServe as well, for its clients.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    bundle: Places = (Path("efficientnet_lite0.bundle"),)
    watch: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    trusted_key: Path | None = None
    shadow: Place | None = None
    shadow_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    record: str | None = None
    record_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    record_images: bool = False
    record_max: Annotated[ByteSize, Field(gt=0)] = ByteSize(1_000_000_000)
    record_seconds: Seconds = 60.0
    beside: Names = ()
    variant: str | None = None
    runtime: str | None = None
    profile: bool = True
    device: Device | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 3000
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    workers: Count | Auto = "auto"
    concurrency: Count | Auto = "auto"
    threads: Count = 1
    max_batch: Count | Auto = "auto"
    max_body_bytes: Count = 20_000_000
    max_batch_bytes: Count = 100_000_000
    max_batch_images: Count = 64
    max_buffered_bytes: Count = 300_000_000
    max_decoded_bytes: Count = 1_000_000_000
    max_pixels: Count = 100_000_000
    max_top_k: Count | None = None
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    max_header_bytes: Count = 65_536
    max_connections: Count = 900
    queue: Count = 128
    header_timeout: Seconds = 10.0
    upload_timeout: Seconds = 30.0
    timeout: Seconds = 30.0
    write_timeout: Seconds = 30.0
    idle_timeout: Seconds = 5.0
    api_key: SecretStr | None = None
    api_keys: SecretStr | None = None
    cors_origins: str = ""
    explain: bool = False
    drain: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    grace: Count = 30
    access_log: bool = False
    torchserve: bool = False

    @property
    def folders(self) -> tuple[Path, ...]:
        """The bundles' folders, once those that are elsewhere were pulled."""
        return tuple(Path(place) for place in self.bundle)

    def switched_on(self) -> list[str]:
        """The names of the settings that are on, of those that are on or off."""
        return [name for name, value in self if value is True]

    def accepted_keys(self) -> tuple[str, ...]:
        """The keys of which a request must bring one; none where it needs none."""
        found = [] if self.api_key is None else [self.api_key.get_secret_value()]
        several = "" if self.api_keys is None else self.api_keys.get_secret_value()
        return tuple(found + [key.strip() for key in re.split(r"[,\r\n]", several) if key.strip()])

    def environment(self) -> dict[str, str]:
        """The settings as the environment variables that give the same settings in another process."""
        values = self.model_dump(mode="json", exclude_none=True)
        values["bundle"] = _join(self.bundle)
        values["beside"] = ",".join(self.beside)
        for name in ("api_key", "api_keys"):  # written out as asterisks otherwise
            secret: SecretStr | None = getattr(self, name)
            if secret is not None:
                values[name] = secret.get_secret_value()
        # A worker that is started later must not see what the file says by then.
        return {
            **{environment_variable(name): str(value) for name, value in values.items()},
            CONFIG: os.devnull,
        }


def require_signatures(settings: ServerSettings) -> None:
    """Have this process, and those that it starts, open only bundles that the trusted key has signed."""
    if settings.trusted_key is not None:
        os.environ[TRUSTED_KEY] = str(settings.trusted_key.absolute())


_SHOULD_BE = "it should be "
_WORDS = {
    "input should be ": _SHOULD_BE,
    "a valid integer, unable to parse string as an integer": "a whole number",
    "a valid number, unable to parse string as a number": "a number",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}


def environment_variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


@dataclass(frozen=True)
class ResolvedSetting:
    """The value of one setting, and where it comes from.

    Attributes:
        name: the setting.
        value: as JSON data; a secret is asterisks.
        source: `option`, the environment variable, the TOML file, or `default`.
    """

    name: str
    value: object
    source: str


def load_settings(config: Path | None = None, **overrides: object) -> ServerSettings:
    """The settings: what is given here and not None, then the environment, then the TOML file.

    Args:
        config: the TOML file; by default `$PINNACE_CONFIG`, then `pinnace.toml` in the working folder, where
            there is one; there, several bundles are a list. Relative ones count from the file's folder.
        overrides: what comes first.

    Raises:
        UsageError: a setting is not valid or the file cannot be read; the message names it and its source.
    """
    return _load(config, overrides)[0]


def resolve_settings(config: Path | None = None, **overrides: object) -> list[ResolvedSetting]:
    """Every setting with its source; arguments and errors as for `load_settings`."""
    settings, sources = _load(config, overrides)
    values = settings.model_dump(mode="json")
    values["bundle"] = [without_secrets(place) if is_uri(place) else place for place in values["bundle"]]
    for name in ("shadow", "record"):
        if values[name] is not None and is_uri(values[name]):
            values[name] = without_secrets(values[name])
    return [ResolvedSetting(name, value, sources.get(name, "default")) for name, value in values.items()]


def _load(config: Path | None, overrides: dict[str, object]) -> tuple[ServerSettings, dict[str, str]]:
    given = {name: value for name, value in overrides.items() if value is not None}
    in_environment = {name.upper() for name, value in os.environ.items() if value}
    file, written = _read_config(config)
    sources = dict.fromkeys(written, str(file))
    variables = {name: environment_variable(name) for name in ServerSettings.model_fields}
    sources |= {name: variable for name, variable in variables.items() if variable in in_environment}
    sources |= dict.fromkeys(given, "option")
    values = {name: value for name, value in written.items() if sources[name] == str(file)}
    try:
        return ServerSettings(**{**values, **given}), sources  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "unknown"
        # Each member of a union complains for itself: `int` first, then the literal.
        wrong = [problem for problem in error.errors() if problem["loc"][:1] == first["loc"][:1]]
        reasons = " or ".join(dict.fromkeys(_in_words(problem["msg"]) for problem in wrong))
        reasons = reasons.replace(f" or {_SHOULD_BE}", " or ")
        raise UsageError(
            f"the setting {name} ({_place(name, sources)}) is not valid: {reasons}", got=str(first["input"])
        ) from None


def _place(name: str, sources: dict[str, str]) -> str:
    source = sources.get(name, "option")
    return f"--{name.replace('_', '-')}" if source == "option" else source


def _read_config(config: Path | None) -> tuple[Path | None, dict[str, object]]:
    """The path of the TOML file and its settings; None and no settings where there is no file."""
    path = config
    if path is None:
        named = os.environ.get(CONFIG)
        path = Path(named) if named else Path(CONFIG_FILE)
        if not named and not path.is_file():
            return None, {}
    data = read_toml(path, "settings")
    for key in data:
        if key not in ServerSettings.model_fields:
            raise UsageError(
                f"{path} has an unknown setting: {key}",
                hint=proposal(key, ServerSettings.model_fields)
                or "pinnace serve --print-settings lists them",
            )
    bundles = [data["bundle"]] if isinstance(data.get("bundle"), str) else data.get("bundle")
    if isinstance(bundles, list) and all(isinstance(bundle, str) for bundle in bundles):
        data["bundle"] = [bundle if is_uri(bundle) else path.absolute().parent / bundle for bundle in bundles]
    for name in ("trusted_key", "shadow", "record"):
        if isinstance(data.get(name), str) and not is_uri(str(data[name])):
            data[name] = str(path.absolute().parent / str(data[name]))
    return path, data


def _in_words(text: str) -> str:
    """What pydantic says of a value, as we say it."""
    text = text[:1].lower() + text[1:]
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text
