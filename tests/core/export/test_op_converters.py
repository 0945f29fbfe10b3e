"""Ops and graphs that tf2onnx alone does not convert; run in ONNX Runtime and compared with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from tf2onnx import optimizer

from icebreaker.export import exporter, op_converters
from icebreaker.tensors import Tensor
from op_conformance.recipes import has_recipe

X = np.float32([[-3.0, -0.5, 0.0], [1e-3, 0.7, 5.0]])
BUILT: dict[str, Callable[[Any], Any]] = {
    "Erfc": tf.math.erfc,
    "Expm1": tf.math.expm1,
    "Log1p": lambda x: tf.math.log1p(tf.abs(x)),
    "Xlogy": lambda x: tf.math.xlogy(x, tf.nn.relu(x)),  # 0 times -inf among them
    "Xdivy": lambda x: tf.math.xdivy(x, x),
    "MulNoNan": lambda x: tf.math.multiply_no_nan(tf.math.log(tf.nn.relu(x)), x),
    "Inv": lambda x: tf.raw_ops.Inv(x=x + 0.25),
    "Snapshot": lambda x: tf.raw_ops.Snapshot(input=x) * 2.0,
    "PreventGradient": lambda x: tf.raw_ops.PreventGradient(input=x) * 2.0,
}


def export(build: Callable[[Any], Any], shape: tuple[int | None, ...]) -> tuple[Any, exporter.Exported]:
    with tf.Graph().as_default() as graph:
        entry = tf.compat.v1.placeholder(tf.float32, shape, "x")
        tf.identity(build(entry), "y")
    definition = graph.as_graph_def()
    return definition, exporter.export(definition, [Tensor("x")], [Tensor("y")])


def agree(definition: Any, exported: exporter.Exported, x: np.ndarray) -> None:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        want = session.run("y:0", {"x:0": x})
    session = onnxruntime.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    have: Any = session.run(None, {exported.inputs[0]: x})[0]
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


def test_every_converter_is_tried() -> None:
    """Here, in tests of their own, or by a recipe of `op_conformance`."""
    elsewhere = {"CTCGreedyDecoder"}
    assert all(op in BUILT or op in elsewhere or has_recipe(op) for op in op_converters.HANDLERS)
    assert op_converters.HANDLERS.keys() <= exporter.supported_ops()


@pytest.mark.parametrize("op", BUILT)
def test_an_op_said_in_others_computes_the_same(op: str) -> None:
    definition, exported = export(BUILT[op], (None, 3))
    assert op in {node.op for node in definition.node}
    agree(definition, exported, X)


def hard_swish(x: Any) -> Any:
    """A convolution without a bias, a scalar added to it: tf2onnx's own pass fails on it."""
    weights = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)
    y = tf.nn.conv2d(x, weights, 1, "SAME")
    return y * tf.nn.relu6(y + 3.0) / 6.0


def image() -> np.ndarray:
    return np.random.default_rng(1).random((1, 8, 8, 3), np.float32)


def test_a_scalar_that_is_added_to_a_convolution_is_no_bias() -> None:
    agree(*export(hard_swish, (1, 8, 8, 3)), image())


def test_a_pass_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def optimize(self, graph: Any, iteration: int) -> Any:
            graph.remove_node(graph.get_nodes()[0].name)
            raise ValueError("on purpose")

    known = optimizer._get_optimizers()
    monkeypatch.setattr(optimizer, "_get_optimizers", lambda: {**known, "broken": Broken})
    agree(*export(hard_swish, (1, 8, 8, 3)), image())
