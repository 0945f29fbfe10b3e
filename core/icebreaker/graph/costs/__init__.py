"""What each op computes and moves, told from shapes and attributes alone: nothing runs.

Owns: how many FLOPs an op takes (a multiplication and an addition are two), how many parameters it reads, how many
bytes it reads and writes; and the sums over a graph. What cannot be told is None, and never taken for nothing.

Adding an op is its name in one of the tables of `rules`.
"""

from __future__ import annotations

from icebreaker.graph.costs.costs import Cost, Totals, one_row, op_costs, parameters_of, totals, totals_of

__all__ = ["Cost", "Totals", "one_row", "op_costs", "parameters_of", "totals", "totals_of"]
