"""The rooms of the wings: no circle of imports, neither between modules nor between the rooms of a wing."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

WINGS = ("models", "export", "latency", "serving", "clients", "cli")


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports of ours, inside functions and for types too."""
    graph = grimp.build_graph(*(f"pinnace.{wing}" for wing in WINGS))
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def rooms(imports: dict[str, set[str]], wing: str) -> dict[str, set[str]]:
    """Which rooms of a wing each room imports; a room is a folder or a file that stands in the wing."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:3])

    found: dict[str, set[str]] = {}
    for module, others in imports.items():
        if module.startswith(f"pinnace.{wing}."):
            inside = {room(other) for other in others if other.startswith(f"pinnace.{wing}.")}
            found.setdefault(room(module), set()).update(inside - {room(module)})
    return found


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The names along a circle; empty where there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        return names
    return []


def test_no_module_imports_one_that_imports_it(imports: dict[str, set[str]]) -> None:
    assert circle(imports) == []


@pytest.mark.parametrize("wing", WINGS)
def test_the_rooms_of_a_wing_have_an_order(imports: dict[str, set[str]], wing: str) -> None:
    assert len(rooms(imports, wing)) > 1
    assert circle(rooms(imports, wing)) == []


def test_a_circle_would_be_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
