"""What is changed of an ONNX file before it goes into a bundle: its opset, and weights among its inputs."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.export.formats.onnx.opset import LEAST, OpsetError, hide_weights, opset_of, with_opset
from pinnace.export.request import ExportRequest, OpsetOrigin
from pinnace.export.worker.onnx_graph import OnnxGraph
from pinnace.models.errors import CheckFailed

_HINT = "write the file in that opset with the tool that made it, or leave out what asks for it"


@dataclass(frozen=True)
class Upkeep:
    """What came of a graph.

    Attributes:
        graph: what goes into the bundle; None where it is the file as it was.
        notes: sentences for the user.
    """

    graph: OnnxGraph | None
    notes: tuple[str, ...] = ()


def keep_up(graph: OnnxGraph, request: ExportRequest) -> Upkeep:
    """Bring a graph into the opset that is asked for, if any, and at least into the one that int8 needs.

    Args:
        graph: what was read; its list of inputs may change.
        request: what is asked for.

    Raises:
        CheckFailed: an opset was asked for that onnx's converter cannot give.
    """
    precision, before = graph.precision, opset_of(graph.model)
    notes: list[str] = []
    if precision != "fp32":
        notes.append(
            f"the file computes in {precision} already, so it is the variant onnx-{precision} as it is"
        )
    wanted = _wanted(before, request)
    if wanted is None:
        changed = hide_weights(graph.model)
        if changed:
            notes.append("weights that the file lists among its inputs are constants in the bundle")
        return Upkeep(graph if changed else None, tuple(notes))
    try:
        model = with_opset(graph.model, wanted, graph.weights)
    except OpsetError as error:
        if request.opset_origin is OpsetOrigin.OPTION or wanted < before:
            raise CheckFailed(
                f"{request.source} cannot be converted to opset {wanted}: {error}",
                expected=f"opset {wanted}, as {_asked(request)} says",
                got=f"opset {before}",
                hint=_HINT,
            ) from error
        notes.append(f"the file stays in opset {before}, because onnx cannot convert it to {wanted}: {error}")
        return Upkeep(graph if hide_weights(graph.model) else None, tuple(notes))
    notes.append(f"the file was converted from opset {before} to {wanted}")
    return Upkeep(OnnxGraph(model, graph.weights), tuple(notes))


def _wanted(opset: int, request: ExportRequest) -> int | None:
    """The opset to convert to; None where the file stays as it is."""
    if request.opset_origin is OpsetOrigin.OPTION:
        return None if opset == request.opset else request.opset
    if request.opset_origin is OpsetOrigin.TARGET and opset > request.opset:
        return request.opset
    return LEAST if opset < LEAST else None


def _asked(request: ExportRequest) -> str:
    return "--opset" if request.opset_origin is OpsetOrigin.OPTION else "the target"
