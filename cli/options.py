"""Options that several commands share, and the options of a command as a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pinnace.cli.bundles import bundle_folder, own_folder


def server_url(typed: str | None) -> str | None:
    """The URL of a server as it was typed, with `http://` where no scheme was."""
    return typed if typed is None or "://" in typed else f"http://{typed}"


Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
BundleArgument = Annotated[
    Path,
    typer.Argument(
        help="A bundle's folder or URL.", metavar="BUNDLE", parser=bundle_folder, show_default=False
    ),
]
OwnBundleArgument = Annotated[
    Path,
    typer.Argument(help="A bundle's folder.", metavar="BUNDLE", parser=own_folder, show_default=False),
]
ImagesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Image files, and folders to search for images.", metavar="IMAGE|DIR...", show_default=False
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Work on a Ray cluster: `local` for one of this machine alone, `auto` for the one that is here, "
        "or its ADDRESS. IMAGE may then be a list of paths (.txt, .csv, .parquet), a pattern or a URI, and "
        "--output is a folder or a URI.",
        metavar="local|auto|ADDRESS",
        show_default=False,
    ),
]
ColumnOption = Annotated[
    str | None,
    typer.Option(
        help="With --ray, the column of a list that has the paths.",
        show_default="path, image, file, uri or url",
    ),
]
ShardSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --ray, images that make one file of answers.",
        show_default="a 256th of all, 32 to 2,048",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(help="Which of the server's models to use.", show_default="the first")
]
VariantOption = Annotated[
    str | None,
    typer.Option(
        "--variant", help="Which variant, such as onnx-fp32.", show_default="the first that runs here"
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option("--runtime", help="Which runtime, such as onnxruntime.", show_default="the preferred one"),
]
OnDeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, gpu, npu or auto.", show_default="the runtime's own"),
]
NoProfileOption = Annotated[
    bool,
    typer.Option("--no-profile", help="Leave out what `pinnace tune` found best for this machine."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads of one call.",
        show_default="the CPUs at hand",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Measure on another machine, over ssh: ssh://user@host or ssh://user@host:port.",
        metavar="URL",
        show_default=False,
    ),
]
InstallOption = Annotated[
    bool,
    typer.Option(
        "--install",
        help="Bring Pinnace along, into an environment of its own on the device, which needs only Python.",
    ),
]
DevicePythonOption = Annotated[
    str | None,
    typer.Option(
        "--device-python",
        help="The Python on the device in which pinnace is installed.",
        metavar="PATH",
        show_default="the pinnace on its PATH",
    ),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        envvar="PINNACE_API_KEY",
        help="The API key, where the server requires one.",
        show_default="$PINNACE_API_KEY",
        show_envvar=False,
    ),
]
ProgressOption = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="Show the progress.", show_default="on a terminal"),
]
RecordedModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="Of a record of several models, this one.", metavar="NAME", show_default=False
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(help="Only answers from then on: 24h, 7d, or a date.", metavar="WHEN", show_default=False),
]


def check_who_answers(
    bundle: Path | None, url: str | None, model: str | None, for_a_bundle: Iterable[object]
) -> None:
    """Refuse options that do not fit a bundle in this process, or do not fit a server.

    Args:
        bundle: what is given as `--bundle`.
        url: what is given as `--url`.
        model: what is given as `--model`.
        for_a_bundle: what is given as `--variant`, `--runtime`, `--device` and `--threads`.

    Raises:
        UsageError: neither a bundle nor a server or both are given, or an option is for the other.
    """
    from pinnace.models.errors import UsageError

    if (bundle is None) == (url is None):
        if bundle is None:
            raise UsageError(
                "neither a bundle nor a server is given",
                hint="--bundle BUNDLE answers in this process, and --url URL asks a server",
            )
        raise UsageError("--bundle answers in this process, and --url asks a server", hint="leave one out")
    if url is not None and any(for_a_bundle):
        raise UsageError(
            "--variant, --runtime, --device and --threads apply to --bundle",
            hint="for a server, set them where it is started",
        )
    if model is not None and url is None:
        raise UsageError("--model selects one of a server's models, so it needs --url")


def check_ray(
    ray: str | None, for_ray: Iterable[object], bundle: Path | None, output: str | None, *, json: bool
) -> None:
    """Refuse options that do not fit `--ray`, or need it.

    Args:
        ray: what is given as `--ray`.
        for_ray: what is given as `--column` and `--shard-size`.
        bundle: what is given as `--bundle`.
        output: what is given as `--output`.
        json: whether `--json` is given.

    Raises:
        UsageError: they do not.
    """
    from pinnace.models.errors import UsageError

    if ray is None:
        if any(option is not None for option in for_ray):
            raise UsageError("--column and --shard-size apply to --ray", hint="--ray local for this machine")
        if output is not None and "://" in output:
            raise UsageError(f"{output} is a store, which needs --ray", hint="--ray local for this machine")
        return
    if bundle is None or output is None or json:
        raise UsageError("--ray needs --bundle BUNDLE and --output FOLDER, and writes no --json")
    if ray.startswith("ray://"):
        raise UsageError(
            f"{ray} is the address of a Ray Client, through which no data set can be worked off",
            expected="local, auto, or HOST:PORT",
            hint="run the command on a machine of the cluster, or with `ray job submit`",
        )


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Declare the options of a command as a dataclass.

    Its function takes an instance as the parameter `options`, whose fields have typer's `Annotated` types;
    typer sees each field as an argument or option, in the place of `options`.

    Args:
        function: has a parameter `options`, annotated with a dataclass.
    """
    declared = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    kind = hints["options"]
    kinds = get_type_hints(kind, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in declared.parameters.items():
        if name == "options":
            parameters += [_parameter(field, kinds[field.name]) for field in dataclasses.fields(kind)]
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def call(**values: Any) -> None:
        options = kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
        function(options=options, **values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameter(field: dataclasses.Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
