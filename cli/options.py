"""Options that several commands share, and the options of a command as a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
BundleArgument = Annotated[
    Path, typer.Argument(help="A bundle's folder.", metavar="BUNDLE", show_default=False)
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
