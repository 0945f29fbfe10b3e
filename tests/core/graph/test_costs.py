"""FLOPs, parameters and bytes of ops, against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.graph_maker import Maker
from helpers.paths import GRAPHS, ROOT
from icebreaker.formats import graph_files
from icebreaker.graph import costs
from icebreaker.graph.costs import Cost
from icebreaker.graph.graph import Graph


def cost(made: Maker) -> Cost:
    """The cost of the node that was added last."""
    graph = Graph(made.definition)
    return costs.op_costs(graph, costs.one_row(graph))[made.last]


def one(op: str, shape: tuple[int, ...], *weights: tuple[int, ...], **attributes: Any) -> Cost:
    made = Maker(*shape)
    made.add(op, *(made.weight(*sizes) for sizes in weights), **attributes)
    return cost(made)


def test_convolutions() -> None:
    # 4×4×5 outputs, each a sum of 3×3×2 products.
    found = one("Conv2D", (1, 4, 4, 2), (3, 3, 2, 5), strides=[1, 1, 1, 1], padding=b"SAME")
    assert found == Cost(2 * 80 * 18, 90, 4 * (32 + 90 + 80))
    # In two groups the kernel has one channel each: half of the work.
    found = one("Conv2D", (1, 4, 4, 2), (3, 3, 1, 6), strides=[1, 1, 1, 1], padding=b"SAME")
    assert found.flops == 2 * 96 * 9
    # 3×3 outputs without padding and in steps of two.
    found = one("Conv2D", (1, 7, 7, 2), (3, 3, 2, 5), strides=[1, 2, 2, 1], padding=b"VALID")
    assert found.flops == 2 * 45 * 18
    # Each of 4×4×(2×3) outputs is a sum of 3×3 products, of one channel.
    found = one("DepthwiseConv2dNative", (1, 4, 4, 2), (3, 3, 2, 3), strides=[1, 1, 1, 1], padding=b"SAME")
    assert found == Cost(2 * 96 * 9, 54, 4 * (32 + 54 + 96))
    found = one("Conv3D", (1, 4, 4, 4, 2), (2, 2, 2, 2, 5), strides=[1, 1, 1, 1, 1], padding=b"SAME")
    assert found.flops == 2 * 4**3 * 5 * 16


def test_transposed_convolution() -> None:
    made = Maker(1, 4, 4, 3)
    sizes, kernel = made.constant(np.array([1, 8, 8, 5], np.int32)), made.weight(2, 2, 5, 3)
    node = made.definition.node.add(name="up", op="Conv2DBackpropInput", input=[sizes, kernel, "x"])
    node.attr["T"].type = 1
    node.attr["strides"].list.i.extend([1, 2, 2, 1])
    node.attr["padding"].s = b"SAME"
    made.last = "up"
    # Each of the 48 inputs is spread over 2×2 places of 5 channels.
    assert cost(made).flops == 2 * 48 * 20
    assert cost(made).parameters == 60


def test_matrix_products() -> None:
    assert one("MatMul", (3, 4), (4, 5)) == Cost(2 * 15 * 4, 20, 4 * (12 + 20 + 15))
    made = Maker(4, 3)
    made.add("MatMul", made.weight(4, 5))
    made.definition.node[-1].attr["transpose_a"].b = True
    assert cost(made).flops == 2 * 15 * 4
    # The batch of two goes with every row of the one matrix.
    assert one("BatchMatMulV2", (2, 3, 4), (4, 5)).flops == 2 * 30 * 4
    made = Maker(2, 4, 3)
    made.add("BatchMatMulV2", made.weight(2, 4, 5))
    made.definition.node[-1].attr["adj_x"].b = True
    assert cost(made).flops == 2 * 30 * 4


@pytest.mark.parametrize(
    ("equation", "flops"),
    [
        (b"abc,cd->abd", 2 * 2 * 3 * 4 * 5),
        (b"abc,cd->ad", 2 * 2 * 3 * 4 * 5),
        (b"abc,cd->abcd", 2 * 3 * 4 * 5),  # an outer product: nothing is summed
        (b"...c,cd->...d", None),  # whatever the dots stand for
    ],
)
def test_einsum(equation: bytes, flops: int | None) -> None:
    assert one("Einsum", (2, 3, 4), (4, 5), equation=equation).flops == flops


def test_einsum_of_one() -> None:
    assert one("Einsum", (2, 3), equation=b"ab->ba").flops == 0
    assert one("Einsum", (2, 3), equation=b"ab->a").flops == 6


def test_pooling_and_reductions() -> None:
    for op in ("MaxPool", "AvgPool"):
        found = one(op, (1, 4, 4, 2), ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding=b"VALID")
        assert found == Cost(8 * 4, 0, 4 * (32 + 8))
    made = Maker(2, 6)
    made.add("Mean", made.constant(np.array([1], np.int32)))
    assert cost(made) == Cost(12, 0, 4 * (12 + 1 + 2))


def test_elementwise() -> None:
    assert one("Relu", (2, 3)) == Cost(6, 0, 4 * 12)
    assert one("AddV2", (2, 3), (3,)) == Cost(6, 3, 4 * (6 + 3 + 6))
    assert one("BiasAdd", (2, 3), (3,)).parameters == 3
    assert one("Softmax", (2, 3)).flops == 30
    made = Maker(2, 3)
    made.add("AddN", "x", "x")
    assert cost(made).flops == 2 * 6
    made = Maker(2, 3)
    made.add("AddV2", made.constant(np.float32(2)))  # a number that is part of the formula, nothing that was learned
    assert cost(made).parameters == 0


def test_batch_norm() -> None:
    made = Maker(1, 2, 2, 3)
    made.add("FusedBatchNormV3", *(made.weight(3) for _ in range(4)))
    made.definition.node[-1].attr["is_training"].b = False
    assert cost(made) == Cost(2 * 12, 12, 4 * (12 + 12 + 12))
    made.definition.node[-1].attr["is_training"].b = True
    assert cost(made).flops is None


def test_what_moves_nothing_and_what_looks_up() -> None:
    made = Maker(2, 6)
    made.add("Reshape", made.constant(np.array([3, 4], np.int32)))
    assert cost(made) == Cost(0, 0, 0)
    made = Maker(5)
    made.definition.node[0].attr["dtype"].type = 3
    table = made.weight(1000, 8)
    node = made.definition.node.add(name="rows", op="GatherV2")
    node.input.extend([table, "x", made.constant(np.array(0, np.int32))])
    node.attr["Tparams"].type = 1
    made.last = "rows"
    found = cost(made)
    assert found.flops == 0 and found.parameters == 8000
    assert found.bytes == 4 * (40 + 5 + 1 + 40)  # of the table only the rows that are taken


def test_unknown_says_unknown() -> None:
    assert one("NewestOp", (2, 3)).flops is None
    assert one("Relu", (2, -1)) == Cost(None, 0, None)
    made = Maker(1, 4)
    made.add("Relu")
    made.add("NewestOp")
    graph = Graph(made.definition)
    assert costs.totals(graph) == (4, 0, 1)


def test_an_open_batch_counts_as_one_row() -> None:
    assert one("MatMul", (-1, 4), (4, 5)).flops == 2 * 5 * 4
    # What is folded into the rows is no batch.
    made = Maker(-1, 7, 4)
    made.add("Reshape", made.constant(np.array([-1, 4], np.int32)))
    made.add("MatMul", made.weight(4, 5))
    assert cost(made).flops == 2 * 35 * 4


def test_parameters_through_identity_count_once() -> None:
    made = Maker(1, 4)
    weight = made.weight(4, 4)
    made.definition.node.add(name="read", op="Identity", input=[weight])
    made.add("MatMul", "read")
    made.add("MatMul", "read")
    graph = Graph(made.definition)
    found = costs.op_costs(graph, costs.one_row(graph))
    assert [found[node.name].parameters for node in graph if node.op == "MatMul"] == [16, 16]
    assert found["read"].parameters == 0
    assert costs.totals(graph).parameters == 16


def test_identities_in_a_circle_end() -> None:
    made = Maker(1, 4)
    made.definition.node.add(name="a", op="Identity", input=["b"])
    made.definition.node.add(name="b", op="Identity", input=["a"])
    made.add("AddV2", "a")
    assert costs.op_costs(Graph(made.definition), {})[made.last].flops is None


def test_the_sample() -> None:
    found = graph_files.inspect(ROOT / "resources/samples/digits.pb")
    assert found.parameters == 388_994
    assert found.flops_unknown == 1  # the loop that decodes
    assert found.flops and found.flops > 200e6


def test_mobilenet() -> None:
    path = GRAPHS / "nsfwjs_mobilenet_v2.pb"
    if not path.exists():
        pytest.skip("../shared/graphs is not here")
    found = graph_files.inspect(path)
    assert found.flops == pytest.approx(2 * 305e6, rel=0.03)  # published: 300 million products, without its head
    assert found.flops_unknown == 0


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_an_einsum_costs_what_its_product_costs(batch: int, rows: int, inner: int, columns: int) -> None:
    product = one("BatchMatMulV2", (batch, rows, inner), (batch, inner, columns))
    assert one("Einsum", (batch, rows, inner), (batch, inner, columns), equation=b"bij,bjk->bik") == product


@given(st.integers(1, 5), st.integers(1, 64))
def test_rows_multiply(rows: int, width: int) -> None:
    one_row, many = one("MatMul", (1, width), (width, 7)), one("MatMul", (rows, width), (width, 7))
    assert one_row.flops and many.flops == rows * one_row.flops
    assert many.parameters == one_row.parameters
