"""A CTC decoder in engines: TensorFlow's labels, of nothing to read, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

LABELS = 5


def decoder(*, merges: bool) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, None, LABELS], name="x")
        n = v1.placeholder(tf.int32, [None], name="n")
        (found,), sure = tf.nn.ctc_greedy_decoder(tf.nn.relu(x * 2.0), n, merge_repeated=merges)
        tf.sparse.to_dense(found, default_value=-1, name="labels")
        tf.identity(sure, name="sure")
    return graph.as_graph_def()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("merges", [True, False])
def test_labels_and_none(engine: str, merges: bool, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    definition = decoder(merges=merges)
    (tmp_path / "ctc.pb").write_bytes(definition.SerializeToString())
    random = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=random.normal(size=(6, 3, LABELS)).astype(np.float32), n=np.int32([6, 4, 1]))
    settings = ConvertSettings.of(engine=engine, data=str(tmp_path / "x.npz"))
    report = convert(tmp_path / "ctc.pb", tmp_path / "out.pb", settings)
    if engine == "onnxruntime":
        assert "CTCGreedyDecoder" not in {item.op for item in report.left_in_tensorflow}
    original, model = GraphSession(definition, reference=True), icebreaker.load(tmp_path / "out.pb")
    blank = np.zeros((4, 2, LABELS), np.float32)
    blank[..., -1] = 1
    tries = [(random.normal(size=(t, b, LABELS)), [t] * b) for t, b in ((1, 1), (7, 2), (12, 3))]
    tries += [(blank, [4, 4]), (blank[:, :1], [2]), (tries[1][0], [0, 3]), (tries[1][0], [0, 0])]
    recwarn.clear()
    for scores, lengths in tries:
        feeds = {"x": np.float32(scores), "n": np.int32(lengths)}
        want = original.run([Tensor("labels"), Tensor("sure")], feeds)
        have = model(feeds)
        np.testing.assert_array_equal(have["labels"], want[0])
        np.testing.assert_allclose(have["sure"], want[1], rtol=1e-5)
    assert not [item for item in recwarn if "TensorFlow" in str(item.message)]
