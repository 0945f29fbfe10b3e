"""Strangers' models: each signature gets in and gives what TensorFlow's own loader gives, or has its line."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.paths import SHARED
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

MODELS = SHARED / "models"
REFUSED = {
    "serving_counter": "signature_changes_state",
    "dads_policy": "variable_differs",
    "chess_move.pb": "graph_of_another_kind",
}
# Signatures that are fed examples in serialized form, which nobody can make up.
SERIALIZED = "ParseExample"

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason=f"{MODELS} is not there")


def _names() -> list[str]:
    return sorted(item.name for item in MODELS.iterdir() if item.is_dir()) if MODELS.is_dir() else []


def _feeds(frozen: Frozen) -> dict[str, np.ndarray]:
    """Values by the signature's keys."""
    random = np.random.default_rng(0)
    found = {}
    for item in frozen.signature.inputs:
        shape = [2 if size is None else size for size in item.shape or ()]
        if item.dtype == "string":
            found[item.key] = np.full(shape, b"a b", object)
        else:
            found[item.key] = random.random(shape).astype(item.dtype)
    return found


def _agrees(graph: Graph, frozen: Frozen) -> None:
    import tensorflow as tf

    v1, feeds, signature = tf.compat.v1, _feeds(frozen), frozen.signature
    with tf.Graph().as_default(), v1.Session() as session:
        described = v1.saved_model.load(session, list(frozen.tags), frozen.folder).signature_def[signature.name]
        want = session.run(
            [described.outputs[item.key].name for item in signature.outputs],
            {described.inputs[key].name: value for key, value in feeds.items()},
        )
    found = GraphSession(graph.definition).run(
        [Tensor.parse(item.tensor) for item in signature.outputs],
        {item.tensor: feeds[item.key] for item in signature.inputs},
    )
    for one, other in zip(want, found, strict=True):
        if one.dtype == object:
            assert one.tolist() == other.tolist()
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", _names())
def test_a_saved_model_gets_in_by_every_signature(name: str) -> None:
    if name in REFUSED:
        pytest.skip("it has its line")
    signature = ""
    waiting: list[str] = [signature]
    seen: set[str] = set()
    while waiting:
        graph, frozen = graph_files.read_model(MODELS / name, signature=waiting.pop())
        assert frozen is not None
        if not seen:
            waiting = list(frozen.others)
        seen.add(frozen.signature.name)
        assert {item.tensor for item in frozen.signature.outputs} >= set(graph.candidate_outputs)
        unfit = (name, frozen.signature.name) == ("serving_mkl", "regress_x2_to_y3")  # two convolutions of a scalar
        if not unfit and not any(node.op.startswith(SERIALIZED) for node in graph):
            _agrees(graph, frozen)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_does_not_get_in_has_one_line(name: str) -> None:
    with pytest.raises(IcebreakerError) as caught:
        graph_files.read_graph(MODELS / name)
    assert caught.value.message.code == REFUSED[name]
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("name", ["ppo_hil.pb", "char_rnn_receipts_mobile.pb", "mlnet_cifar.pb"])
def test_frozen_graphs_are_read(name: str) -> None:
    graph = graph_files.read_graph(MODELS / name)
    assert graph.placeholders and graph.candidate_outputs
