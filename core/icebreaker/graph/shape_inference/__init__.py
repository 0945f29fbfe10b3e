"""Types and shapes of a graph's tensors, found without TensorFlow and before anything runs.

Owns: the rules for common ops. They are sound, not complete: what a rule cannot tell stays unknown, and so does all
that an unknown op gives. Small whole-number constants, and what is computed from them and from shapes, are followed,
because targets of reshapes and the like are made of them.

Adding a rule for an op is one function and the line `@RULES.of("Op")` above it, in the module of the op's family.
"""

from __future__ import annotations

from icebreaker.graph.shape_inference.facts import Known, Shape
from icebreaker.graph.shape_inference.inference import RULES, infer

__all__ = ["RULES", "Known", "Shape", "infer"]
