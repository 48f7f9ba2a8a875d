"""`pinnace export`: a source becomes a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.cli.group import VerbCommand
from pinnace.cli.options import Json, ProgressOption, command

if TYPE_CHECKING:
    from pinnace.export.request import ExportRequest
    from pinnace.export.targets import Target
    from pinnace.export.variant_selection import Selection


class Scores(str, Enum):
    """What makes scores of the output, or that it has none."""

    softmax = "softmax"
    sigmoid = "sigmoid"
    none = "none"
    embedding = "embedding"
    tensors = "tensors"


@dataclass(frozen=True)
class ExportOptions:
    """What the command line says; None where it says nothing."""

    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", show_default=False),
    ]
    folder: Annotated[
        Path | None,
        typer.Option("-o", help="The bundle's folder.", metavar="DIR", show_default="NAME.bundle"),
    ] = None
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Which output, or tensor in an ONNX file, is the answer.",
            show_default=False,
        ),
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Where it will run, repeatable; see `pinnace targets`.",
            show_default="cpu",
        ),
    ] = None
    format: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", show_default="the target's"),
    ] = None
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only fp32, fp16, int8, ...", show_default="the target's"),
    ] = None
    calibrate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="100 to 500 images, to find int8's ranges on.")
    ] = None
    calibration_method: Annotated[
        str, typer.Option(metavar="NAME", help="minmax, entropy or percentile.")
    ] = "minmax"
    int8_recipe: Annotated[str, typer.Option(metavar="NAME", help="How int8 is made; auto races them.")] = (
        "auto"
    )
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Photographs to compare with fp32 on; in a folder for each class, top-1 is measured too.",
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Top-1 that may be lost on --images."),
    ] = None
    batch: Annotated[
        str | None,
        typer.Option(metavar="MIN:MAX", help="Batch sizes, such as 1:64.", show_default="the target's"),
    ] = None
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A checkpoint's network: module:factory, torchvision:NAME or timm:NAME."
        ),
    ] = None
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Argument of the factory or entry point."),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(metavar="ema|KEY", help="Which weights.", show_default="the trainer's"),
    ] = None
    num_classes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Outputs of a network with another head.")
    ] = None
    trust: Annotated[bool, typer.Option("--trust", help="Run Python code that comes with SOURCE.")] = False
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Another input size.")] = None
    preprocess: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file of the seven below.", show_default=False),
    ] = None
    resize: Annotated[str | None, typer.Option(metavar="N|HxW", help="Shortest edge, or exact size.")] = None
    crop: Annotated[str | None, typer.Option(metavar="N|HxW", help="Centre crop.")] = None
    interpolation: Annotated[str | None, typer.Option(metavar="NAME", help="bilinear, bicubic, ...")] = None
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Subtracted from the scaled pixels."),
    ] = None
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="Divided by after that.")] = None
    scale: Annotated[
        str | None,
        typer.Option(metavar="X", help="Pixels are multiplied by it.", show_default="1/255"),
    ] = None
    color: Annotated[
        str | None, typer.Option(metavar="RGB|BGR|L", help="Order of the channels, or grey.")
    ] = None
    input: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DTYPE[DIMS]",
            help="Such as x=float32[batch,8], if not an image.",
        ),
    ] = None
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names: text, JSON or YAML.", show_default=False)
    ] = None
    scores: Annotated[
        Scores | None,
        typer.Option(
            metavar="KIND",
            help=f"What the output means: {', '.join(kind.value for kind in Scores)}.",
            show_default=False,
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            max=1,
            help="Score from which one of several labels is true.",
            show_default="0.5",
        ),
    ] = None
    opset: Annotated[
        int | None,
        typer.Option(metavar="17..20", min=17, max=20, help="ONNX opset.", show_default="the target's"),
    ] = None
    load_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="For loading and writing.")
    ] = 600.0


class ExportCommand(VerbCommand):
    """Lists the sources and formats there are in its help, and looks for them only where that is shown."""

    @staticmethod
    def late_help() -> dict[str, str]:
        """The help of the parameters that name what there is, by their names."""
        from pinnace.export.formats import all_formats
        from pinnace.models.loaders import all_loaders

        return {
            "source": ", ".join(loader.usage for loader in all_loaders().values() if loader.usage),
            "format": f"Only {', '.join(all_formats())}.",
        }

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into the formatter."""
        found = self.late_help()
        for parameter in self.params:
            if parameter.name in found:
                parameter.help = found[parameter.name]  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


COMMAND_CLASS = ExportCommand


@command
def export(options: ExportOptions, progress: ProgressOption = None, json: Json = False) -> None:
    """Load a model, write its variants, and prove each of them against the eager model."""
    from pinnace.cli.commands.inspect import print_bundle
    from pinnace.cli.console import err, only_data, plain
    from pinnace.cli.progress import steps
    from pinnace.export import targets
    from pinnace.export.convert import without_images
    from pinnace.export.exporter import Evidence, export_bundle
    from pinnace.export.outputs import OutputOptions
    from pinnace.export.reproduce.script import script_path
    from pinnace.export.variant_selection import select
    from pinnace.models.errors import PinnaceError
    from pinnace.models.loaders.foreign import parse_arguments

    folder, output = folder_and_output(options)
    parse_arguments(options.arg or ())
    target = targets.combine([targets.read(name) for name in options.target or [targets.DEFAULT]])
    if options.batch is not None:
        target = replace(target, batch=targets.parse_batch(options.batch))
    selection = select(
        target,
        targets.words(options.format),
        targets.words(options.precision),
        calibrated=options.calibrate is not None,
    )
    request = _request(options, target, selection)
    try:
        with only_data(), steps(progress) as show:
            bundle = export_bundle(
                request,
                target,
                folder,
                labels=options.labels,
                evidence=Evidence(
                    options.calibrate,
                    options.calibration_method,
                    options.images,
                    options.max_drop,
                    options.int8_recipe,
                ),
                meaning=OutputOptions(
                    None if options.scores is None else options.scores.value, output, options.threshold
                ),
                progress=show,
                timeout=options.load_timeout,
            )
    except PinnaceError:
        if (script := script_path(folder)).is_file():
            err().print(f"note: {plain(str(script))} shows it without pinnace", soft_wrap=True)
        raise
    left_out = without_images(bundle, selection.without_images)
    for note in (*bundle.manifest.notes, *left_out, *selection.notes):
        err().print(f"note: {plain(note)}", soft_wrap=True)
    print_bundle(bundle, json=json)


def folder_and_output(options: ExportOptions) -> tuple[Path, str | None]:
    """The bundle's folder, and the output that is meant.

    `-o` names the folder and `--output` the output. Without `-o`, an `--output` that is plainly a path names
    the folder, as it does for other commands; else the source does.
    """
    from pinnace.models.errors import UsageError
    from pinnace.models.loaders.paths import default_name, find_source

    names = list(options.output or ())
    folder = options.folder
    if folder is None:
        looks = [name for name in names if "/" in name or name.endswith(".bundle") or Path(name).is_dir()]
        if looks:
            names.remove(looks[0])
        folder = Path(looks[0] if looks else default_name(find_source(options.source)))
    if len(names) > 1:
        raise UsageError("--output names more than one output", got=", ".join(names))
    return folder, (names[0] if names else None)


def _request(options: ExportOptions, target: Target, selection: Selection) -> ExportRequest:
    from pinnace.export.inputs import parse_inputs
    from pinnace.export.preprocessing import Changes, parse_changes, parse_size, read_changes
    from pinnace.export.request import ExportRequest, OpsetOrigin
    from pinnace.models.loaders.paths import find_source

    changes = parse_changes(
        resize=options.resize,
        crop=options.crop,
        interpolation=options.interpolation,
        color=options.color,
        mean=options.mean,
        std=options.std,
        scale=options.scale,
    )
    return ExportRequest(
        source=str(find_source(options.source)),
        variants=selection.variants,
        opset=options.opset or target.opset,
        opset_origin=(
            OpsetOrigin.OPTION if options.opset else OpsetOrigin.TARGET if options.target else None
        ),
        named=bool(options.precision),
        arch=options.arch,
        num_classes=options.num_classes,
        input_size=None if options.input_size is None else parse_size(options.input_size),
        changes=changes.over(Changes() if options.preprocess is None else read_changes(options.preprocess)),
        inputs=parse_inputs(options.input or ()),
        arguments=tuple(options.arg or ()),
        trust=options.trust,
        folder=str(Path.cwd()),
        weights=options.weights,
    )
