"""How a graph is painted."""
