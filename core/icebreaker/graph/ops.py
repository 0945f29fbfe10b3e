"""TensorFlow's ops and dtypes by kind: which of them do no work, are control flow, are inputs, take weights."""

from __future__ import annotations

from collections.abc import Mapping

# DataType enum of tensorflow/core/framework/types.proto → the dtype's name; reference types are these + 100.
DTYPES: Mapping[int, str] = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16",
    17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip
# Dtype → bytes of one element; types without a fixed size are missing.
ITEM_BYTES: Mapping[str, int] = {
    "float32": 4, "float64": 8, "int32": 4, "uint8": 1, "int16": 2, "int8": 1, "complex64": 8, "int64": 8, "bool": 1,
    "qint8": 1, "quint8": 1, "qint32": 4, "bfloat16": 2, "qint16": 2, "quint16": 2, "uint16": 2, "complex128": 16,
    "float16": 2, "uint32": 4, "uint64": 8, "float8_e5m2": 1, "float8_e4m3fn": 1, "int4": 1, "uint4": 1,
}  # fmt: skip
FLOATS = frozenset({"float16", "float32", "float64"})  # dtypes of weights

PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
# The version of GraphDefs from which on a Placeholder's empty shape is a scalar's: before, and where the version was
# not kept, as TensorFlow 1's freezing did not, it means that nothing is known.
KNOWN_SCALARS = 22
# Ops that give what they read, unchanged.
FORWARDING = frozenset({"Identity", "Snapshot", "StopGradient"})
# Ops that move a value on unchanged or carry none: they never count as work that an engine could do.
PASSIVE = frozenset({"Const", "IdentityN", "NoOp"}) | FORWARDING | PLACEHOLDERS

# Control flow of TensorFlow 1: ops by which single nodes of a graph run sometimes, or again and again.
SWITCHES = frozenset({"Switch", "SwitchV2", "RefSwitch", "_SwitchN"})
MERGES = frozenset({"Merge", "RefMerge"})
ENTERS = frozenset({"Enter", "RefEnter"})
EXITS = frozenset({"Exit", "RefExit"})
NEXT_ITERATIONS = frozenset({"NextIteration", "RefNextIteration"})
V1_CONTROL_FLOW = SWITCHES | MERGES | ENTERS | EXITS | NEXT_ITERATIONS | {"LoopCond"}
# Control flow of TensorFlow 2: ops that call functions.
FUNCTIONAL_CONTROL_FLOW = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "For"})
CONTROL_FLOW = V1_CONTROL_FLOW | FUNCTIONAL_CONTROL_FLOW

# Op → the input in which it takes a weight: of that, only type and shape matter to whoever looks at the graph.
WEIGHT_SLOTS: Mapping[str, int] = {
    "Conv2D": 1, "DepthwiseConv2dNative": 1, "Conv3D": 1, "Conv2DBackpropInput": 1, "MatMul": 1,
    "BatchMatMulV2": 1, "GatherV2": 0,
}  # fmt: skip
# Op → how many inputs it has at least, where the code looks at them one by one; any number will do for the others.
FEWEST_INPUTS: Mapping[str, int] = {
    **dict.fromkeys(FORWARDING | MERGES | ENTERS | EXITS | NEXT_ITERATIONS | {"LoopCond"}, 1),
    **dict.fromkeys(SWITCHES, 2),
}
# Ops that nothing need read though what they give is no output that anybody wants.
NEVER_OUTPUTS = frozenset({
    "NoOp", "Assert", "Print", "PrintV2", "Const", "SaveV2", "RestoreV2", "Save", "MakeIterator", "Iterator",
    "IteratorV2", "OneShotIterator", "IteratorToStringHandle", "IteratorFromStringHandle", "VarHandleOp",
    "AssignVariableOp", "Assign", "NextIteration", "ControlTrigger", "Abort",
}) | PLACEHOLDERS  # fmt: skip
