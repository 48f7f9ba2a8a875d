"""Ways of quantising to int8, one a module. Which is the best for a network is found by racing them."""

from __future__ import annotations

from pinnace.export.precision.recipes.base import Recipe
from pinnace.models.plugins import declared


def all_recipes() -> dict[str, Recipe]:
    """Every recipe by name, in the order in which they are tried."""
    found: list[Recipe] = declared(__name__, __path__, "RECIPE")
    return {recipe.name: recipe for recipe in sorted(found, key=lambda recipe: recipe.rank)}
