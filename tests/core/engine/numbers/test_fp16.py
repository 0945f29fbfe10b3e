"""FP16 conversion: right results, valid types, FP32 where FP16 cannot hold the values.

Run in ONNX Runtime's CPU provider with its optimizations off, since they would compute around the casts in FP32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.onnx_models import model, run
from icebreaker.engine.numbers.fp16 import to_half
from icebreaker.errors import IcebreakerError

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def converted(data: bytes, samples: Sequence[Sequence[np.ndarray]] = ()) -> onnx.ModelProto:
    """The converted model, found valid with all its types."""
    proto = onnx.load_from_string(to_half(data, samples))
    onnx.checker.check_model(proto, full_check=True)
    before = onnx.load_from_string(data).graph
    assert list(proto.graph.input) == list(before.input)
    assert [(item.name, item.type.tensor_type.elem_type) for item in proto.graph.output] == [
        (item.name, item.type.tensor_type.elem_type) for item in before.output
    ]
    return proto


def types(proto: onnx.ModelProto) -> dict[str, int]:
    """Node name → element type of its first output."""
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    known = {item.name: item.type.tensor_type.elem_type for item in (*graph.value_info, *graph.output)}
    return {node.name: known[node.output[0]] for node in graph.node}


def deviation(data: bytes, *inputs: np.ndarray, samples: bool = False) -> float:
    """Largest difference between the model and its FP16 form, as a share of the output's range."""
    half = converted(data, [inputs] if samples else ()).SerializeToString()
    pairs = zip(run(data, *inputs), run(half, *inputs), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


rng = np.random.default_rng(0)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return rng.normal(scale=scale, size=shape).astype(np.float32)


CONV = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    y = Relu (c)
}"""


def test_a_convolution_and_what_follows_work_in_half() -> None:
    data = model(CONV, w=normal(8, 3, 3, 3), b=normal(8))
    proto = converted(data)
    assert types(proto)["Conv0"] == types(proto)["Relu1"] == HALF
    assert {item.data_type for item in proto.graph.initializer} == {HALF}, "no FP32 copy of the weights is left"
    assert sum(node.op_type == "Cast" for node in proto.graph.node) == 2, "one at the input, one at the output"
    assert 0 < deviation(data, normal(2, 3, 16, 16)) < 2e-3


BERT = """net (int64[N,T] ids, int64[N,T] mask) => (float[N,T,32] y) {
    minus = Constant <value = float {-1e9}> ()
    one = Constant <value = float {1}> ()
    eps = Constant <value = float {1e-12}> ()
    axes = Constant <value = int64[1] {-1}> ()
    x = Gather (table, ids)
    mean = ReduceMean (x, axes)
    d = Sub (x, mean)
    dd = Mul (d, d)
    var = ReduceMean (dd, axes)
    ve = Add (var, eps)
    std = Sqrt (ve)
    inv = Reciprocal (std)
    n = Mul (d, inv)
    q = MatMul (n, wq)
    k = MatMul (n, wk)
    v = MatMul (n, wv)
    kt = Transpose <perm = [0, 2, 1]> (k)
    s = MatMul (q, kt)
    m = Cast <to = 1> (mask)
    off = Sub (one, m)
    big = Mul (off, minus)
    wide = Unsqueeze (big, one_axis)
    sm = Add (s, wide)
    p = Softmax <axis = -1> (sm)
    a = MatMul (p, v)
    y = Add (a, x)
}"""


def bert() -> bytes:
    matrices = {name: normal(32, 32, scale=0.2) for name in ("wq", "wk", "wv")}
    return model(BERT, table=normal(50, 32, scale=0.1), one_axis=np.array([1]), **matrices)


@pytest.mark.parametrize("masked", [0, 3, 7])
def test_attention_with_its_mask_and_normalization_stays_right(masked: int) -> None:
    mask = np.ones((2, 7), np.int64)
    mask[:, 7 - masked :] = 0  # 7 of 7: every score is -1e9, and still no NaN may come out
    assert deviation(bert(), rng.integers(0, 50, (2, 7)), mask) < 5e-3


def test_epsilon_square_and_mask_stay_in_float() -> None:
    found = types(converted(bert()))
    nodes = onnx.load_from_string(bert()).graph.node
    by_output = {node.output[0]: found.get(node.name) for node in nodes}
    assert {by_output[name] for name in ("dd", "var", "ve", "std", "inv", "big", "sm")} == {FLOAT}
    assert {by_output[name] for name in ("q", "k", "s", "p", "a")} <= {FLOAT, HALF}
    assert by_output["q"] == by_output["s"] == HALF


def test_types_that_ops_demand_are_kept() -> None:
    data = model(
        """net (float[1,2,4,4] x) =>
           (float[1,2,8,8] r, float[1,2,4,2] values, int64[1,2,4,2] which, float[8] positions) {
            c = Conv (x, w)
            r = Resize <mode = "linear"> (c, , scales)
            values, which = TopK (c, two)
            steps = Range (start, limit, delta)
            ints = Shape (x)
            filled = ConstantOfShape <value = float[1] {2}> (ints)
            sum = Add (filled, c)
            zero = Mul (sum, nothing)
            flat = ReduceSum <keepdims = 0> (zero)
            positions = Add (steps, flat)
        }""",
        w=normal(2, 2, 1, 1), scales=np.array([1, 1, 2, 2], np.float32), two=np.array([2]), nothing=np.float32(0),
        start=np.float32(0), limit=np.float32(8), delta=np.float32(1),
    )  # fmt: skip
    x = normal(1, 2, 4, 4)
    before, after = run(data, x), run(converted(data).SerializeToString(), x)
    np.testing.assert_allclose(before[0], after[0], atol=5e-3)
    np.testing.assert_array_equal(before[2], after[2])
    np.testing.assert_array_equal(before[3], after[3])


def test_whole_numbers_are_not_rounded_by_a_cast() -> None:
    """70,000 and 4,097 are beyond FP16: pixels, lengths and positions stay exact until they meet FP16 values."""
    data = model(
        """net (int64[N] n) => (float[N] y, int64[N] back) {
            f = Cast <to = 1> (n)
            y = Mul (f, third)
            back = Cast <to = 7> (f)
        }""",
        third=np.float32(0.25),
    )
    n = np.array([70_000, 4_097], np.int64)
    y, back = run(converted(data).SerializeToString(), n)
    assert y.tolist() == [17_500, 1_024.25] and back.tolist() == n.tolist()


def test_samples_keep_what_overflows_in_float() -> None:
    data = model(
        """net (float[N,4] x) => (float[N,4] y) {
            a = MatMul (x, w)
            b = MatMul (a, w)
            c = Mul (b, small)
            y = Tanh (c)
        }""",
        w=np.full((4, 4), 100, np.float32), small=np.float32(1e-4),
    )  # fmt: skip
    x = np.abs(normal(3, 4)) * 0.1 + 0.1
    assert np.isfinite(run(converted(data, [[x]]).SerializeToString(), x)[0]).all()
    assert deviation(data, x, samples=True) < 2e-3
    found = types(converted(data, [[x * 50]]))
    assert found["MatMul1"] == FLOAT and found["MatMul0"] == HALF


def test_inner_graphs_see_float() -> None:
    data = model(
        """net (float[N,4] x, bool flag) => (float[N,4] y) {
            a = MatMul (x, w)
            i = If (flag) <then_branch = g1 () => (float[N,4] t) { t = Add (a, a) },
                           else_branch = g2 () => (float[N,4] e) { e = Mul (a, w2) }>
            y = MatMul (i, w)
        }""",
        w=normal(4, 4), w2=normal(1, 4),
    )  # fmt: skip
    for flag in (True, False):
        assert deviation(data, normal(2, 4), np.array(flag)) < 5e-3
    assert types(converted(data))["MatMul0"] == HALF


QUANTIZED = """net (float[N,4] x) => (float[N,4] y) {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    v = DequantizeLinear <axis = 1> (w, sw, zw)
    m = MatMul (d, v)
    y = Relu (m)
}"""


def quantized(scales: list[float]) -> bytes:
    weights = rng.integers(-127, 128, (4, 4)).astype(np.int8)
    zeros = np.zeros(4, np.int8)
    return model(QUANTIZED, s=np.float32(0.02), z=np.int8(0), w=weights, sw=np.array(scales, np.float32), zw=zeros)


def test_a_quantized_model_works_in_half_around_its_int8_layers() -> None:
    """Without a Cast between Q/DQ nodes and the product they belong to, or an engine would not see INT8."""
    data = quantized([0.01, 0.02, 1e-33, 0.03])  # a dead channel, as folded batch norms have them
    proto = converted(data)
    assert {"DequantizeLinear1", "DequantizeLinear2", "MatMul3", "Relu4"} <= {
        name for name, kind in types(proto).items() if kind == HALF
    }
    assert [node.op_type for node in proto.graph.node].count("Cast") == 1, "the output's"
    assert deviation(data, normal(5, 4)) < 2e-3


def test_scales_that_half_cannot_hold_leave_a_quantized_model_as_it_is() -> None:
    data = quantized([0.01, 0.02, 1e-6, 0.03])
    assert to_half(data) == data


def test_nonsense_is_refused() -> None:
    with pytest.raises(IcebreakerError, match="cannot be read"):
        to_half(b"\xff\xff\xff not a model")


OPS = ("Relu", "Sigmoid", "Tanh", "Exp", "Square", "Mean", "Mul", "Add", "Heavy", "Join")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(OPS), min_size=1, max_size=12))
def test_any_chain_of_ops_is_valid_and_close(names: list[str]) -> None:
    lines, current = [], "x"
    forms = {
        "Square": "Mul ({0}, {0})", "Mean": "Add (mean{1}, zeros)", "Mul": "Mul ({0}, k)", "Add": "Add ({0}, k)",
        "Heavy": "MatMul ({0}, w)", "Join": "Add ({0}, x)",
    }  # fmt: skip
    for number, name in enumerate(names):
        bounded = f"Tanh ({current})" if name in ("Exp", "Square") else f"Identity ({current})"
        lines += [f"b{number} = {bounded}", f"mean{number} = ReduceMean (b{number}, axes)"]
        lines.append(f"t{number} = {forms.get(name, name + ' ({0})').format(f'b{number}', number)}")
        current = f"t{number}"
    text = "net (float[N,6] x) => (float[N,6] y) {" + "\n".join([*lines, f"y = Add ({current}, zeros)"]) + "}"
    weights = np.linspace(-0.5, 0.5, 36, dtype=np.float32).reshape(6, 6)
    data = model(text, w=weights, k=np.float32(0.5), zeros=np.zeros(6, np.float32), axes=np.array([-1]))
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    before, after = run(data, x)[0], run(converted(data).SerializeToString(), x)[0]
    np.testing.assert_allclose(before, after, atol=2e-2 * max(1.0, float(np.abs(before).max())))


def test_the_table_of_ops_is_spelled_as_onnx_spells_it() -> None:
    from icebreaker.engine.numbers import fp16, half_rules

    tables = (half_rules.HEAVY, half_rules._STAY, half_rules._BOUNDED, half_rules._SATURATE, fp16._QUANTIZE)
    assert not [name for table in tables for name in table if not onnx.defs.has(name)]
