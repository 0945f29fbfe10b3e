"""Loops of TensorFlow that are recurrent networks become one ONNX node, with TensorFlow's values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.export.exporter import export
from icebreaker.export.recurrent.loops import find_recurrences
from icebreaker.export.recurrent.stand_ins import with_stand_ins
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import inline_functions, prune
from icebreaker.tf.session import GraphSession

INPUTS = 5


def layers(name: str) -> Any:
    from keras import layers

    return {
        "lstm": lambda: [layers.LSTM(4)],
        "lstm of all steps, twice": lambda: [layers.LSTM(4, return_sequences=True), layers.LSTM(3)],
        "lstm without bias": lambda: [layers.LSTM(4, use_bias=False, return_sequences=True)],
        "lstm of one unit": lambda: [layers.LSTM(1, return_sequences=True)],
        "lstm with relu": lambda: [layers.LSTM(4, activation="relu")],
        "lstm with other activations": lambda: [layers.LSTM(4, activation="sigmoid", recurrent_activation="tanh")],
        "gru": lambda: [layers.GRU(4, return_sequences=True)],
        "gru that resets before": lambda: [layers.GRU(4, reset_after=False)],
        "gru without bias": lambda: [layers.GRU(4, use_bias=False)],
        "rnn backwards": lambda: [layers.SimpleRNN(4, go_backwards=True, return_sequences=True)],
        "both ways": lambda: [
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.Bidirectional(layers.GRU(3)),
        ],
    }[name]()  # fmt: skip


def keras_graph(stack: list[Any], length: int | None, tmp_path: Path) -> tuple[Graph, list[Tensor], Path]:
    """A network with biases that are not zero, as the product reads it."""
    import keras

    keras.utils.set_random_seed(3)
    x = y = keras.Input((length, INPUTS))
    for layer in stack:
        y = layer(y)
    model = keras.Model(x, y)
    random = np.random.default_rng(0)
    model.set_weights([value + random.normal(size=value.shape) / 3 for value in model.get_weights()])
    model.save(tmp_path / "net.keras")
    graph = graph_files.read_graph(tmp_path / "net.keras")
    outputs = [Tensor.parse(name) for name in graph.candidate_outputs]
    return prune(inline_functions(graph), outputs), outputs, tmp_path / "net.keras"


def as_onnx(graph: Graph, outputs: list[Tensor]) -> tuple[GraphSession, Any]:
    """A graph in TensorFlow, and as ONNX."""
    original = GraphSession(graph.definition, reference=True)
    found = find_recurrences(graph, original.shape)
    assert len(found) == sum("While" in node.op for node in graph)
    definition, handlers = with_stand_ins(graph.definition, found.values())
    inputs = [Tensor(item.name) for item in graph.placeholders]
    return original, export(definition, inputs, outputs, handlers)


def assert_same(graph: Graph, outputs: list[Tensor], values: list[np.ndarray]) -> None:
    import onnxruntime

    original, made = as_onnx(graph, outputs)
    session = onnxruntime.InferenceSession(made.model)
    assert {"LSTM", "GRU", "RNN"} & {node.op_type for node in _nodes(made.model)}
    assert "Loop" not in {node.op_type for node in _nodes(made.model)}
    for value in values:
        want = original.run(outputs, {made.inputs[0].removesuffix(":0"): value})
        have = session.run(list(made.outputs), {made.inputs[0]: value})
        for one, other in zip(want, have, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def _nodes(model: bytes) -> Any:
    import onnx

    return onnx.load_from_string(model).graph.node


def some_values(length: int | None) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    shapes = [(1, 1), (1, 7), (3, 2), (2, 30)] if length is None else [(1, length), (4, length)]
    values = [random.normal(size=(*shape, INPUTS)).astype(np.float32) for shape in shapes]
    return [*values, values[-1] * np.float32(1e15), np.zeros_like(values[0]), values[-1] * np.float32(1e-38)]


@pytest.mark.parametrize("name", [
    "lstm", "lstm of all steps, twice", "lstm without bias", "lstm of one unit", "lstm with other activations", "gru",
    "gru that resets before", "gru without bias", "rnn backwards", "both ways",
])  # fmt: skip
def test_a_layer_of_keras(name: str, tmp_path: Path) -> None:
    length = 6 if "before" in name or "twice" in name else None
    graph, outputs, _ = keras_graph(layers(name), length, tmp_path)
    assert_same(graph, outputs, some_values(length))


def test_states_go_in_and_come_out(tmp_path: Path) -> None:
    """A layer begins where the one before it ended, and both give their states."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(5)
    first = keras.layers.LSTM(3, return_sequences=True, return_state=True)
    second = keras.layers.LSTM(3, return_state=True)

    @tf.function(input_signature=[tf.TensorSpec((None, None, INPUTS), tf.float32)])
    def both(x: Any) -> Any:
        every, h, c = first(x)
        last, h2, c2 = second(every, initial_state=[c, h])
        return {"last": last, "h": h, "c": c, "h2": h2, "c2": c2}

    path = tmp_path / "states"
    module = tf.Module()
    module.both, module.layers = both, [first, second]
    both(tf.zeros((1, 1, INPUTS)))
    tf.saved_model.save(module, str(path), both)
    graph = graph_files.read_graph(path)
    outputs = [Tensor.parse(name) for name in graph.candidate_outputs]
    assert len(outputs) == 5
    assert_same(prune(inline_functions(graph), outputs), outputs, some_values(None))


def body_graph(step: Any, states: int, steps: Any = lambda x, length: length) -> tuple[Graph, list[Tensor]]:
    """A loop over the first dimension of x by hand: `step(x, states)` gives the output and the new states."""
    import tensorflow as tf

    def loop(x: Any) -> Any:
        length = tf.shape(x)[0]
        reads = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=(None, INPUTS)).unstack(x)
        writes = tf.TensorArray(tf.float32, length, element_shape=(None, 4))
        begin = [tf.zeros((tf.shape(x)[1], 4)) for _ in range(states)]

        def body(time: Any, writes: Any, *old: Any) -> Any:
            output, new = step(reads.read(time), old)
            return (time + 1, writes.write(time, output), *new)

        until = steps(x, length)
        found = tf.while_loop(lambda time, *_: time < until, body, (0, writes, *begin))
        return found[1].stack()

    definition = graph_of(loop, tf.TensorSpec((None, None, INPUTS), tf.float32, "x"))
    graph = Graph(definition)
    outputs = [Tensor.parse(name) for name in graph.candidate_outputs]
    return prune(inline_functions(graph), outputs), outputs


def graph_of(function: Any, *specs: Any) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = tf.function(function).get_concrete_function(*specs)
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False).graph.as_graph_def()


def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return tuple(random.normal(size=shape).astype(np.float32) / 2 for shape in ((INPUTS, 4), (4, 4), (4,)))  # type: ignore[return-value]


def count_recurrences(graph: Graph) -> int:
    return len(find_recurrences(graph, GraphSession(graph.definition).shape))


def test_a_loop_by_hand_is_recognized() -> None:
    import tensorflow as tf

    w, r, b = matrices()

    def step(x: Any, old: Any) -> Any:
        new = tf.tanh(b + (x @ w + old[0] @ r))
        return new, (new,)

    graph, outputs = body_graph(step, 1)
    assert_same(graph, outputs, some_values(None))


@pytest.mark.parametrize("name", ["other sum", "two steps fewer", "output is no state", "state by itself", "gate of c"])
def test_what_is_almost_a_recurrent_network_is_none(name: str) -> None:
    import tensorflow as tf

    w, r, b = matrices()

    def plain(x: Any, old: Any) -> Any:
        new = tf.tanh(x @ w + old[0] @ r + b)
        return new, (new,)

    def other_sum(x: Any, old: Any) -> Any:
        new = tf.tanh(x @ w - old[0] @ r + b)
        return new, (new,)

    def other_output(x: Any, old: Any) -> Any:
        new = tf.tanh(x @ w + old[0] @ r + b)
        return new * 2.0, (new,)

    def twice(x: Any, old: Any) -> Any:
        new = tf.tanh(x @ w + old[0] @ r + b)
        return new, (new, old[1] + new)

    def lstm_with_a_wrong_gate(x: Any, old: Any) -> Any:
        h, c = old
        i, f, o = (tf.sigmoid(x @ w + state @ r) for state in (h, c, h))
        new = f * c + i * tf.tanh(x @ w + h @ r)
        return o * tf.tanh(new), (o * tf.tanh(new), new)

    def fewer(x: Any, length: Any) -> Any:
        return length - 2

    step, states, steps = {
        "other sum": (other_sum, 1, None), "two steps fewer": (plain, 1, fewer),
        "output is no state": (other_output, 1, None), "state by itself": (twice, 2, None),
        "gate of c": (lstm_with_a_wrong_gate, 2, None),
    }[name]  # fmt: skip
    graph, _ = body_graph(step, states, steps or (lambda x, length: length))
    assert not count_recurrences(graph)


def test_a_masked_layer_stays(tmp_path: Path) -> None:
    from keras import layers

    graph, _, _ = keras_graph([layers.Masking(), layers.LSTM(4)], None, tmp_path)
    assert not count_recurrences(graph)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_classifier_is_in_engines_and_right_on_hard_values(engine: str, tmp_path: Path) -> None:
    from keras import layers

    graph, outputs, path = keras_graph([layers.LSTM(4), layers.Dense(3, "softmax")], None, tmp_path)
    report = convert(path, tmp_path / "out.pb", ConvertSettings.of(engine=engine))
    assert report.coverage > 0.9
    assert len(report.segments) == 1
    original, model = GraphSession(graph.definition, reference=True), icebreaker.load(tmp_path / "out.pb")
    (name,) = [item.name for item in graph.placeholders]
    values = some_values(None)
    odd = values[-1].copy()
    odd[0, 2, 1], odd[1, 0, 0] = np.nan, np.inf
    for value in [*values, odd]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it gives way to TensorFlow
            have = model({name: value})
        want = original.run(outputs, {name: value})
        np.testing.assert_allclose(next(iter(have.values())), want[0], rtol=1e-3, atol=1e-5)
    with pytest.raises(icebreaker.IcebreakerError):  # TensorFlow has nothing to give either
        model({name: np.zeros((2, 0, INPUTS), np.float32)})
