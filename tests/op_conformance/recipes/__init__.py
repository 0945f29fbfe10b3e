"""How each op is used: what is fed to it, of which types, with which attributes."""

from op_conformance.recipes import arithmetic, arrays, diagonals, images, indexing, networks, reductions, sparse  # noqa: F401
from op_conformance.recipes.registry import has_recipe, variants

__all__ = ["has_recipe", "variants"]
