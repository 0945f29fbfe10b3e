"""What an engine does wrong with numbers, as data; which nodes of a model it must not take for that, and which inputs.

An engine may keep 64-bit numbers in 32 bits, compute whole numbers in floats, or lose a NaN on the way, and says
nothing. What that means for a model depends on how large its numbers may get (`number_ranges`). A node that may go
wrong whatever comes in is refused; where it depends on the model's inputs, these are watched at run time (`Watch`): a
call with values beyond the engine is computed in TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.engine.numbers import made_nans
from icebreaker.engine.numbers.ranges import ANYTHING, Bounds, Ranges, attribute, of_type, ranges
from icebreaker.engine.protocol import GivesWay
from icebreaker.engine.segment_model import Model
from icebreaker.messages import Message, message

_COMPARISONS = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
# Operand → op whose reader takes it as a place in an array: there is no array beyond 32 bits, and TensorFlow checks it.
_PLACE_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "Gather": (1,), "GatherND": (1,), "GatherElements": (1,), "ScatterND": (1,), "ScatterElements": (1,),
    "Slice": (1, 2, 3, 4), "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Unsqueeze": (1,), "Squeeze": (1,),
    "Split": (1,), "Pad": (1, 3), "TopK": (1,), "ConstantOfShape": (0,), "Resize": (3,), "ReverseSequence": (1,),
    "NonMaxSuppression": (2,), "OneHot": (1,), "CumSum": (1,), "ReduceSum": (1,), "ReduceMax": (1,), "ReduceMin": (1,),
    "ReduceMean": (1,), "ReduceProd": (1,), "Trilu": (1,),
}  # fmt: skip
# Ops that turn the smallest difference into a whole one.
_STEPS = frozenset({"Floor", "Ceil", "Round", "Cast"})
# Ops that give the numbers that they read.
_AS_IT_IS = frozenset({"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Flatten", "Expand"})
# Bounds that are tried for whole numbers from outside, in powers of two: the widest that refuses the least is watched.
_WATCHED_BITS = (31, 24, 20, 16)


@dataclass(frozen=True)
class NumberRules:
    """What an engine does with numbers.

    Attributes:
        title: The engine's.
        bits: How many bits its whole numbers really have; 64 if as many as they say.
        exact: ONNX op → up to which power of two it computes whole numbers exactly; those that are left out always do.
            `CastToBool` is a Cast to truth values.
        saturates: Ops that stop at the end of a type of 8 bits, where TensorFlow's numbers wrap around.
        keeps_float64: Whether float64 is computed as such.
        refused: ONNX op → why it is wrong on floats, whatever their size.
        rounds_division: Whether floats are divided by multiplying with the reciprocal: 41 / 41 may be less than 1.
        checks_places: Whether it fails at a place that an array does not have; by that a division by zero is found, too
            (see `export.ops.arithmetic`).
        hides_nan: Ops that give a number for a NaN, or another NaN than TensorFlow.
        keeps_nan: None, or the only ops that surely do not, as far as values from outside go.
        wrong_on_nothing: Ops that give a number where there is nothing to compute with (TensorFlow's mean is a NaN), or
            end the process. None: any might.
    """

    title: str
    bits: int = 64
    exact: Mapping[str, int] = field(default_factory=dict[str, int])
    saturates: frozenset[str] = frozenset()
    keeps_float64: bool = True
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    rounds_division: bool = False
    checks_places: bool = True
    hides_nan: frozenset[str] = frozenset()
    keeps_nan: frozenset[str] | None = None
    wrong_on_nothing: frozenset[str] | None = frozenset({"ReduceMean"})


@dataclass(frozen=True)
class Judgement:
    """What rules say of a model.

    Attributes:
        refusals: ONNX node → why the engine must not take it.
        watch: What to look at before each call.
    """

    refusals: Mapping[str, Message]
    watch: Watch


@dataclass(frozen=True)
class Watch:
    """What to look at in the inputs before an engine computes with them.

    Attributes:
        title: The engine's.
        limits: For each input: the smallest and largest whole number that may come in; None: any.
        looks_for_nan: For each input: whether a NaN in it would be lost.
        looks_for_infinity: Whether an infinity becomes a NaN on the way, which would be lost.
        takes_nothing: Whether inputs may be empty.
    """

    title: str
    limits: tuple[tuple[int, int] | None, ...]
    looks_for_nan: tuple[bool, ...]
    takes_nothing: bool = True
    looks_for_infinity: bool = False

    def __call__(self, inputs: Sequence[np.ndarray]) -> None:
        """Raises GivesWay if the engine would compute something else with these inputs than TensorFlow."""
        for array, limits, looks_for_nan in zip(inputs, self.limits, self.looks_for_nan, strict=True):
            if not array.size and not self.takes_nothing:
                raise GivesWay("nothing_to_compute", "{subject} does not compute with nothing", subject=self.title)
            if not array.size:
                continue
            if limits is not None and (array.min() < limits[0] or array.max() > limits[1]):
                raise GivesWay(
                    "numbers_beyond_engine",
                    "{subject} computes with whole numbers from {low} to {high} here, and there are others",
                    subject=self.title, low=limits[0], high=limits[1],
                )  # fmt: skip
            if not (looks_for_nan or self.looks_for_infinity) or array.dtype.kind in "iub" or _is_finite(array):
                continue
            if looks_for_nan and np.isnan(array.min()):
                raise GivesWay(
                    "nan_beyond_engine", "{subject} would lose a NaN that is among the values", subject=self.title
                )
            if self.looks_for_infinity and np.isinf(array).any():
                raise GivesWay(
                    "infinity_beyond_engine",
                    "{subject} would lose the NaN that becomes of an infinity that is among the values",
                    subject=self.title,
                )


def _is_finite(array: np.ndarray) -> bool:
    """Whether all numbers are finite, as far as adding them up tells: at once, for most."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


def judge(model: Model, rules: NumberRules) -> Judgement:
    """What rules say of a model in ONNX."""
    graph, dtypes, shapes = _described(model)
    inputs = [item.name for item in graph.input]
    best: tuple[dict[str, Message], int] | None = None
    found = Ranges({}, {}, frozenset())
    for bits in _WATCHED_BITS:
        bits = 63 if rules.bits == 64 and bits == _WATCHED_BITS[0] else bits
        found = ranges(graph, dtypes, shapes, Bounds(-(2**bits), 2**bits - (bits in (31, 63))))
        refusals = _refusals(graph, found, rules)
        if best is None or len(refusals) < len(best[0]):
            best = refusals, bits
        if not refusals:
            break
    assert best is not None  # noqa: S101 - there is more than one to try
    rows = _rows_of_tables(graph, shapes)
    watch = _watch(graph, [(dtypes.get(name), rows.get(name)) for name in inputs], rules, best[1])
    if not best[0]:
        watch = replace(
            watch, looks_for_infinity=bool(made_nans.origins(graph, found, rules.hides_nan, from_infinity=True))
        )
    return Judgement(best[0], watch)


def _described(model: Model) -> tuple[Any, Mapping[str, Any], Mapping[str, Sequence[int | None]]]:
    """A model's graph, with the types and shapes of its tensors; large weights are left out."""
    import onnx
    from onnx import helper

    if isinstance(model, Path):
        whole = onnx.load(str(model), load_external_data=False)
    else:
        whole = onnx.load_model_from_string(model)
    slim = onnx.ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import)
    slim.graph.name = "slim"
    for part in ("node", "input", "output", "value_info"):
        getattr(slim.graph, part).extend(getattr(whole.graph, part))
    dtypes: dict[str, Any] = {}
    shapes: dict[str, Sequence[int | None]] = {}
    for item in whole.graph.initializer:
        dtypes[item.name], shapes[item.name] = _numpy_type(item.data_type), list(item.dims)
        if len(item.raw_data) < 1 << 16 and not item.external_data:
            slim.graph.initializer.append(item)
        else:
            slim.graph.value_info.append(helper.make_tensor_value_info(item.name, item.data_type, list(item.dims)))
    try:
        told = onnx.shape_inference.infer_shapes(slim).graph
    except Exception:  # what it cannot tell stays unknown
        told = slim.graph
    for item in (*told.input, *told.value_info, *told.output):
        kind = item.type.tensor_type
        dtypes[item.name] = _numpy_type(kind.elem_type)
        if kind.HasField("shape"):
            shapes[item.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    return slim.graph, dtypes, shapes


def _numpy_type(number: int) -> Any:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(number) if number else None


def _refusals(graph: Any, found: Ranges, rules: NumberRules) -> dict[str, Message]:
    """Node → why it may go wrong."""
    as_places = _only_places(graph)
    quotients = {node.output[0] for node in graph.node if node.op_type == "Div"}
    makers = made_nans.origins(graph, found, rules.hides_nan)
    refusals: dict[str, Message] = {}
    for node in graph.node:
        why = _why_not(node, found, rules, as_places)
        if rules.rounds_division and why is None and node.op_type in _STEPS and node.input[0] in quotients:
            why = _why_no_step(node, found, rules)
        if why is None and node.name in makers:
            why = message(
                "nan_made_and_lost", "{subject} would lose a NaN that {op} may make here",
                subject=rules.title, op=node.op_type,
            )  # fmt: skip
        if why is not None:
            refusals[node.name] = why
    return refusals


def _why_not(node: Any, found: Ranges, rules: NumberRules, as_places: frozenset[str]) -> Message | None:
    """Why a node may go wrong; None if it does not."""
    kinds = {name: found.dtypes.get(name) for name in (*node.input, *node.output) if name}
    if not rules.keeps_float64 and any(kind == np.float64 for kind in kinds.values()):
        return message("float64_in_32_bits", "{subject} computes float64 in 32 bits", subject=rules.title)
    floats = [kind for kind in kinds.values() if kind is not None and np.dtype(kind).kind == "f"]
    if floats and node.op_type in rules.refused:
        return message(
            "op_inexact",
            "{subject}'s {op} {why}",
            subject=rules.title,
            op=node.op_type,
            why=rules.refused[node.op_type],
        )
    places = _PLACE_OPERANDS.get(node.op_type, ())
    data = [name for port, name in enumerate(node.input) if name and port not in places]
    whole = [name for name in (*data, *node.output) if kinds.get(name) is not None and _is_whole(kinds[name])]
    for name in node.output:
        kind = kinds.get(name)
        if kind is None or not _is_whole(kind):
            continue
        size = np.dtype(kind).itemsize * 8
        if size == 8 and name in found.wraps and node.op_type in rules.saturates:
            return message(
                "whole_numbers_saturate", "{subject}'s {op} of {dtype} stops at the end of its range, if it gets there",
                subject=rules.title, op=node.op_type, dtype=np.dtype(kind).name,
            )  # fmt: skip
        is_wider = rules.bits < 64 and (size > rules.bits or (size == rules.bits and np.dtype(kind).kind == "u"))
        if is_wider and name not in as_places and not _fits(found.bounds[name], rules.bits - 1):
            return message(
                "whole_numbers_in_32_bits", "{subject} computes {dtype} in {bits} bits",
                subject=rules.title, dtype=np.dtype(kind).name, bits=rules.bits,
            )  # fmt: skip
    if whole and not rules.checks_places and node.op_type in ("Div", "Mod"):
        divisor = found.bounds.get(node.input[1], ANYTHING)
        if not divisor.is_size and divisor.low <= 0 <= divisor.high:
            return message(
                "division_by_zero_missed",
                "{subject} divides whole numbers by zero where TensorFlow raises, and may come to that here",
                subject=rules.title,
            )  # fmt: skip
    is_truth = node.op_type == "Cast" and kinds.get(node.output[0]) == np.bool_
    bits = rules.exact.get("CastToBool" if is_truth else node.op_type)
    if bits is None or not whole:
        return None
    bounds = [found.bounds.get(name, of_type(kinds[name])) for name in whole]
    if node.op_type in _COMPARISONS and any(bound.within(1 - 2**bits, 2**bits - 1) for bound in bounds):
        return None  # the other one is rounded to something as large
    if all(_fits(bound, bits) for bound in bounds):
        return None
    return message(
        "whole_numbers_in_floats", "{subject}'s {op} of whole numbers is exact up to 2^{bits} only",
        subject=rules.title, op=node.op_type, bits=bits,
    )  # fmt: skip


def _why_no_step(node: Any, found: Ranges, rules: NumberRules) -> Message | None:
    """Why a quotient must not be rounded to whole numbers; None if it is one of whole numbers already."""
    kind, given = found.dtypes.get(node.output[0]), found.dtypes.get(node.input[0])
    if (node.op_type == "Cast" and (kind is None or not _is_whole(kind))) or (given is not None and _is_whole(given)):
        return None
    return message(
        "quotient_rounded", "{subject} divides by multiplying with the reciprocal, which {op} turns into other numbers",
        subject=rules.title, op=node.op_type,
    )  # fmt: skip


def _is_whole(kind: Any) -> bool:
    return np.dtype(kind).kind in "iu"


def _fits(bounds: Bounds, bits: int) -> bool:
    return bounds.is_size or bounds.within(-(2**bits), 2**bits)


def _only_places(graph: Any) -> frozenset[str]:
    """Tensors that are read as places in arrays, or as shapes, by all their readers."""
    readers: dict[str, list[bool]] = {}
    for node in graph.node:
        for port, name in enumerate(node.input):
            readers.setdefault(name, []).append(port in _PLACE_OPERANDS.get(node.op_type, ()))
    ends = {item.name for item in graph.output}
    return frozenset(name for name, places in readers.items() if all(places) and name not in ends)


def _rows_of_tables(graph: Any, shapes: Mapping[str, Sequence[int | None]]) -> dict[str, int]:
    """Input → how many rows the smallest table has that it picks from as it is.

    TensorFlow raises at a row that is not there; engines count negative ones from the end, or give zeros.
    """
    makers = {name: node for node in graph.node for name in node.output}
    entries = {item.name for item in graph.input}
    rows: dict[str, int] = {}
    for node in graph.node:
        if node.op_type != "Gather":
            continue
        shape, axis, name = shapes.get(node.input[0]), attribute(node, "axis", 0), node.input[1]
        while name in makers and makers[name].op_type in _AS_IT_IS:
            name = makers[name].input[0]
        if name in entries and shape is not None and shape[axis] is not None:
            rows[name] = min(shape[axis] or 0, rows.get(name, shape[axis] or 0))
    return rows


def _watch(graph: Any, inputs: Sequence[tuple[Any, int | None]], rules: NumberRules, bits: int) -> Watch:
    """What to look at in inputs, of each its type and what `_rows_of_tables` finds."""
    limits: list[tuple[int, int] | None] = []
    for kind, rows in inputs:
        held = of_type(kind)
        allowed = Bounds(-(2**bits), 2**bits - (bits in (31, 63))) if rows is None else Bounds(0, rows - 1)
        if kind is None or not _is_whole(kind) or held.within(allowed.low, allowed.high):
            limits.append(None)
        else:
            limits.append((int(max(allowed.low, held.low)), int(min(allowed.high, held.high))))
    kept, used = rules.keeps_nan, {node.op_type for node in graph.node}
    hides = bool(used & rules.hides_nan) or (kept is not None and not used <= kept)
    nan = (hides and kind is not None and np.dtype(kind).kind == "f" for kind, _ in inputs)
    wrong = rules.wrong_on_nothing
    takes_nothing = wrong is not None and not any(node.op_type in wrong for node in graph.node)
    return Watch(rules.title, tuple(limits), tuple(nan), takes_nothing)
