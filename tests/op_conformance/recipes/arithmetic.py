"""Arithmetic: division, powers, shifts, choices, products of matrices, types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def
from op_conformance.recipes.registry import allowed, arrays, recipe
from op_conformance.values import DTYPES, FLOATS, WHOLE, hard, is_float, numbers, numpy_type, small, with_specials


@recipe("FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "Div", "RealDiv")
def _division(op: str, dtype: str) -> Iterator[Variant]:
    """Divisors are not zero, but for a call in which TensorFlow raises."""
    if not allowed(op, dtype, "T"):
        return
    calls = []
    for values in arrays(dtype):
        divisors = values if is_float(dtype) else values[values != 0]
        calls.append({"x": values[:, None], "y": divisors[None]})
    if not is_float(dtype):
        calls.append({"x": small(dtype)[:, None], "y": np.zeros((1, 1), dtype)})
    yield Variant("each by each", calls)
    for divisor in (3, 7) if dtype.startswith("u") else (3, -3, 7):
        yield Variant(
            f"by {divisor}", [{"x": values} for values in arrays(dtype)], {"y": np.array(divisor, numpy_type(dtype))}
        )
    if not dtype.startswith("u"):  # ceil division: -(-x // 4)
        yield Variant("of a scalar", [{"x": value} for value in small(dtype)], {"y": np.array(4, numpy_type(dtype))})


@recipe("Pow")
def _pow(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    if is_float(dtype):
        base = np.abs(small(dtype))
        yield Variant("each by each", [{"x": base[:, None], "y": small(dtype)[None]}])
        yield Variant(
            "specials", [{"x": values[:, None], "y": values[None]} for values in [small(dtype), *hard(dtype)[3:5]]]
        )
    for power in (1, 2, 3, 5):
        yield Variant(
            f"to {power}", [{"x": values} for values in arrays(dtype)], {"y": np.array(power, numpy_type(dtype))}
        )
    exponents = np.abs(small(dtype)[:4])
    yield Variant("to what is fed", [{"x": small(dtype)[:, None], "y": exponents[None]}])


@recipe("LeftShift", "RightShift", of=WHOLE)
def _shift(op: str, dtype: str) -> Iterator[Variant]:
    by = np.array([0, 1, 3, 7], dtype)
    calls = [{"x": values[:, None], "y": by[None]} for values in arrays(dtype)]
    yield Variant("by what is fed", calls)
    yield Variant("by 3", [{"x": values} for values in arrays(dtype)], {"y": np.array(3, dtype)})
    if np.dtype(dtype).itemsize > 1:
        yield Variant("by more than there is", [{"x": small(dtype)[:, None], "y": np.array([[15, 40, 70]], dtype)}])


@recipe("Erf", "Erfc", "Sigmoid", "Softplus", of=FLOATS)
def _error_function(op: str, dtype: str) -> Iterator[Variant]:
    """Engines compute them for what they are added to: exact to 2e-6, whatever is left of them."""
    name = op_def(op).input_arg[0].name
    yield Variant("vectors", [{name: values} for values in arrays(dtype)], atol=2e-6)


@recipe("Select", "SelectV2")
def _select(op: str, dtype: str) -> Iterator[Variant]:
    yes, no = ("t", "e") if op == "Select" or op == "SelectV2" else ("x", "y")
    names = [arg.name for arg in op_def(op).input_arg]
    calls = []
    for values in [small(dtype), *hard(dtype)]:
        other = values[::-1].copy()
        calls.append({names[0]: np.arange(values.size) % 2 == 0, names[1]: values, names[2]: other})
    yield Variant("vectors", calls)
    table = np.resize(small(dtype), (3, 2))
    rows = {names[0]: np.array([True, False, True]), names[1]: table, names[2]: table[::-1].copy()}
    if op == "Select":
        yield Variant("rows", [rows])
        rows |= {names[0]: np.array(True)}
        yield Variant("scalar", [rows])
    else:
        yield Variant("spread", [{names[0]: np.array([[True], [False]]), names[1]: table[:2], names[2]: table[0]}])
    del yes, no


@recipe("Cast")
def _cast(op: str, dtype: str) -> Iterator[Variant]:
    import tensorflow as tf

    calls = [
        {"x": small(dtype)},
        *({"x": values} for values in hard(dtype)[:2] + hard(dtype)[3 if is_float(dtype) else 2 :]),
    ]
    for target in DTYPES:
        given = calls
        if is_float(dtype) and not is_float(target) and target != "bool":  # what does not fit is undefined
            given = [{"x": np.abs(small(dtype)) if target.startswith("u") else small(dtype)}]
        yield Variant(f"to {target}", given, attributes={"DstT": tf.as_dtype(target)})


@recipe("ClipByValue", of=(*FLOATS, *WHOLE))
def _clip(op: str, dtype: str) -> Iterator[Variant]:
    ends = {"clip_value_min": np.array(1, numpy_type(dtype)), "clip_value_max": np.array(5, numpy_type(dtype))}
    yield Variant("constants", [{"t": values} for values in arrays(dtype)], ends)


@recipe("AddN")
def _add_n(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("three", [{"inputs": [values, values, values]} for values in [small(dtype), *hard(dtype)]])


@recipe("BatchMatMul")
def _matmul(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    names = [arg.name for arg in op_def(op).input_arg]
    tables = [
        np.resize(values, (3, 4)) for values in [small(dtype), *(hard(dtype) if dtype in WHOLE else hard(dtype)[:1])]
    ]
    shape = lambda table: table if op == "MatMul" else np.stack([table, table])  # noqa: E731
    turned = "transpose_b" if op == "MatMul" else "adj_y"
    yield Variant("plain", [{names[0]: shape(t), names[1]: shape(t.T.copy())} for t in tables], atol=1e-5)
    yield Variant(
        "turned", [{names[0]: shape(t), names[1]: shape(t)} for t in tables], attributes={turned: True}, atol=1e-5
    )


@recipe("LogicalAnd", "LogicalOr", of=("bool",))
def _logic(op: str, dtype: str) -> Iterator[Variant]:
    values = small(dtype)
    yield Variant("each with each", [{"x": values[:, None], "y": values[None]}, {"x": values[:0], "y": values[:1]}])
    yield Variant("with a constant", [{"x": values}], {"y": np.array(True)})


@recipe("LogicalNot", of=("bool",))
def _not(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("vectors", [{"x": small(dtype)}, {"x": small(dtype)[:0]}])
    yield Variant("scalar", [{"x": value} for value in small(dtype)[:2]])


@recipe("BatchMatMulV3")
def _matmul_of_types(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "Ta"):
        return
    import tensorflow as tf

    x, y = numbers(dtype, 2, 3, 4), numbers(dtype, 1, 4, 5, seed=1)
    for kind in {dtype, "int32" if dtype in ("int8", "uint8") else dtype}:
        yield Variant(f"to {kind}", [{"x": x, "y": y}], attributes={"Tout": tf.as_dtype(kind)}, atol=1e-5)
    given = {"x": x, "y": np.swapaxes(y, 1, 2).copy()}
    yield Variant("turned", [given], attributes={"Tout": tf.as_dtype(dtype), "adj_y": True}, atol=1e-5)


@recipe("MatMul", "BatchMatMulV2")
def _matmul_of_nothing(op: str, dtype: str) -> Iterator[Variant]:
    yield from _matmul(op, dtype)
    if allowed(op, dtype):
        names = [arg.name for arg in op_def(op).input_arg]
        pairs = [((3, 4), (4, 2)), ((3, 0), (0, 2)), ((0, 4), (4, 2)), ((1, 1), (1, 1))]
        made = [dict(zip(names, (numbers(dtype, *a), numbers(dtype, *b, seed=1)), strict=True)) for a, b in pairs]
        yield Variant("of nothing", made, atol=1e-5)
        specials = [{names[0]: table, names[1]: numbers(dtype, 4, 2)} for table in with_specials(dtype, 3, 4)]
        yield Variant("specials", specials, atol=1e-5)
        yield Variant("with a constant", specials[:1], {names[1]: numbers(dtype, 4, 2)}, atol=1e-5)


@recipe("Einsum")
def _einsum(op: str, dtype: str) -> Iterator[Variant]:
    shapes = {
        "ij,jk->ik": ((3, 4), (4, 5)), "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)), "ij->ji": ((3, 4),), "ij->i": ((3, 4),),
        "ii->i": ((3, 3),), "ii->": ((3, 3),), "i,j->ij": ((3,), (4,)), "...ij,...jk->...ik": ((2, 3, 4), (4, 5)),
        "bhqd,bhkd->bhqk": ((2, 2, 3, 4), (2, 2, 5, 4)), "abc,cde->abde": ((2, 3, 4), (4, 2, 3)),
        "ij,ij->": ((3, 4), (3, 4)), "...i->...": ((2, 3),), "abc,ab->ac": ((2, 3, 4), (2, 3)),
    }  # fmt: skip
    for equation, given in shapes.items():
        inputs = [numbers(dtype, *shape, seed=seed) for seed, shape in enumerate(given)]
        yield Variant(equation, [{"inputs": inputs}], attributes={"equation": equation}, atol=1e-5)


@recipe("CheckNumerics", of=FLOATS)
def _check(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("vectors", [{"tensor": values} for values in arrays(dtype)], attributes={"message": "bad"})


@recipe("MatrixInverse", "MatrixDeterminant", of=("float32", "float64"))
def _matrix(op: str, dtype: str) -> Iterator[Variant]:
    one: Any = np.array([[4, 1, -2], [0.5, 3, 1], [1, -1, 5]], dtype)
    calls = [{"input": one}, {"input": one[:2, :2].copy()}, {"input": one[:1, :1].copy()}]
    yield Variant("one", calls, atol=1e-5)
    singular = np.ones_like(one)
    yield Variant("several", [{"input": np.stack([one, one.T * 2])}, {"input": np.stack([singular, one])}], atol=1e-5)
    if op == "MatrixInverse":
        yield Variant("adjoint", [{"input": one}], attributes={"adjoint": True}, atol=1e-5)
        yield Variant("known", [{"input": one}], is_open=False, atol=1e-5)


@recipe("ComplexAbs", of=("complex64", "complex128"))
def _complex_abs(op: str, dtype: str) -> Iterator[Variant]:
    import tensorflow as tf

    kind = tf.float64 if dtype == "complex128" else tf.float32
    yield Variant("vectors", [{"x": small(dtype)}], attributes={"Tout": kind})


@recipe("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", of=("float32",))
def _fake_quant(op: str, dtype: str) -> Iterator[Variant]:
    step = np.float32(6 / 15)
    ties = (np.arange(-8, 24, dtype=dtype) + np.float32(0.5)) * step / 2
    calls = [{"inputs": values} for values in [numbers(dtype, 5, 4) * 3, ties, *arrays(dtype)]]
    for low, high in ((-6.0, 6.0), (0.0, 6.0), (-1.0, 0.3), (0.5, 3.0), (-3.0, -0.5)):
        for bits, is_narrow in ((8, False), (8, True), (4, False), (2, True), (16, False)):
            attributes: dict[str, Any] = {"num_bits": bits, "narrow_range": is_narrow}
            ends: dict[str, Any] = {"min": np.float32(low), "max": np.float32(high)}
            if op.endswith("Args"):
                attributes, ends = attributes | {"min": low, "max": high}, {}
            yield Variant(f"{low} to {high}, {bits} bits{', narrow' * is_narrow}", calls, ends, attributes, atol=1e-6)
    if op.endswith("Vars"):
        more: dict[str, Any] = {"min": np.float32(-2), "max": np.float32(3)}
        yield Variant("computed ends", [{**call, **more} for call in calls], atol=1e-6)


@recipe("FakeQuantWithMinMaxVarsPerChannel", of=("float32",))
def _fake_quant_of_channels(op: str, dtype: str) -> Iterator[Variant]:
    ends: dict[str, Any] = {"min": np.float32([-6, 0, -1, 0.5]), "max": np.float32([6, 6, 0.3, 3])}
    calls = [{"inputs": np.resize(values, (5, 4))} for values in [numbers(dtype, 5, 4) * 3, small(dtype), *hard(dtype)]]
    for bits, is_narrow in ((8, False), (8, True), (4, False)):
        yield Variant(f"{bits} bits", calls, ends, {"num_bits": bits, "narrow_range": is_narrow}, atol=1e-6)


@recipe(
    "StringLower", "StringUpper", "StaticRegexReplace", "StringToNumber", "StringJoin", "ReduceJoin", "StringSplitV2",
    of=("string",),
)  # fmt: skip
def _strings(op: str, dtype: str) -> Iterator[Variant]:
    names = [arg.name for arg in op_def(op).input_arg]
    values = small(dtype)[3:5]
    constants: dict[str, Any] = {"reduction_indices": np.int32([0])} if op == "ReduceJoin" else {}
    constants |= {"sep": np.array(b" ")} if op == "StringSplitV2" else {}
    attributes = {"pattern": "a", "rewrite": "b"} if op == "StaticRegexReplace" else {}
    given = [values, values] if op == "StringJoin" else values
    yield Variant("words", [{names[0]: given}], constants, attributes)
