"""Where the rules of a family of ops are written down: a rule is one function below one line that names its ops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.facts import Fact

# Gives the facts of a node's outputs, in order, from the node and the facts of its inputs. Where the node is not as
# TensorFlow demands, it may give too few, or raise ArithmeticError, LookupError, TypeError or ValueError: what it
# cannot tell counts as unknown.
Rule: TypeAlias = Callable[[Node, list[Fact]], Iterable[Fact]]


class RuleTable(dict[str, Rule]):
    """Op → its rule."""

    def of(self, *ops: str) -> Callable[[Rule], Rule]:
        """Decorates the rule of some ops: `@RULES.of("Relu", "Elu")`."""

        def add(rule: Rule) -> Rule:
            self.update(dict.fromkeys(ops, rule))
            return rule

        return add
