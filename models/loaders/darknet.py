"""The YOLO networks of Darknet, with random weights or with those of a `.weights` file."""

from __future__ import annotations

from pathlib import Path

from pinnace.models.errors import MissingDependency, SourceError, UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.install import install_line
from pinnace.models.loaders.base import ListedModel, LoadedModel, Loader, LoadRequest, name_and_ref, refuse
from pinnace.models.networks.darknet import NETWORKS
from pinnace.models.networks.layers import build
from pinnace.models.networks.weights_file import load_weights
from pinnace.models.source import NO_WEIGHTS, Source


def load(request: LoadRequest) -> LoadedModel:
    """Build the network; the source says `@none`, or `@PATH` of a file that Darknet wrote.

    Its outputs are raw, one for each scale: boxes have yet to be decoded, and chosen among.
    """
    refuse(request, arch=request.arch)
    name, ref = request.source.name, request.source.ref
    network = NETWORKS.get(name)
    if network is None:
        raise UsageError(f"darknet has no network {name!r} here", expected="one of " + ", ".join(NETWORKS))
    if ref is None:
        raise UsageError(
            f"{request.source} does not say which weights, and none are downloaded",
            expected=f"darknet:{name}@PATH, a file that Darknet wrote, or darknet:{name}@{NO_WEIGHTS}",
        )
    keywords = request.keywords
    classes = keywords.pop("num_classes", network.classes)
    if keywords:
        raise UsageError(f"--arg {next(iter(keywords))} does not apply to {request.source}")
    if not isinstance(classes, int) or classes < 1:
        raise UsageError("num_classes is not a number of classes", got=repr(classes))
    table = network.table(classes)
    try:
        module = build(table)
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"darknet sources need the package {error.name}", hint=install_line("export")
        ) from None
    if ref != NO_WEIGHTS:
        path = Path(request.folder) / Path(ref).expanduser()
        if not path.is_file():
            raise SourceError(f"there is no file {path}")
        load_weights(module, table, path)
    edge = (network.size, network.size)
    # As Darknet prepares an image, for which the network was made: squeezed, and no mean or deviation.
    scaled = Preprocess(edge, "bilinear", None, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    random = (f"{name} was exported with random weights",) if ref == NO_WEIGHTS else ()
    return LoadedModel(module, scaled, notes=random)


def snippet(request: LoadRequest) -> str:
    """Lines that make the network; Pinnace's own layers are plain torch, and no part of the export."""
    classes = request.num_classes or "network.classes"
    return (
        "from pinnace.models.networks.darknet import NETWORKS  # plain torch, and no part of the export\n"
        "from pinnace.models.networks.layers import build\n\n"
        f"network = NETWORKS[{request.source.name!r}]\n"
        f"model = build(network.table({classes}))  # with random weights\n"
    )


def _reads(source: Source) -> str | None:
    return None if source.ref == NO_WEIGHTS else source.ref


def _listed() -> list[ListedModel]:
    return [
        ListedModel(f"darknet:{name}", network.size, "random, or a file")
        for name, network in NETWORKS.items()
    ]


LOADER = Loader(
    kind="darknet",
    form="darknet:yolov3@WEIGHTS or @none",
    usage="darknet:NAME",
    load=load,
    snippet=snippet,
    parse=name_and_ref,
    rank=20,
    size=(416, 416),
    reads=_reads,
    listed=_listed,
)
