"""Optimized graphs in a process that has others."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.settings import ConvertSettings


def test_two_graphs_whose_segments_bear_the_same_name(tmp_path: Path, monkeypatch) -> None:
    models = []
    for number in (1, 2):
        with tf.Graph().as_default() as graph:
            x = tf.compat.v1.placeholder(tf.float32, [None, 3], "x")
            tf.nn.relu(tf.nn.relu(x * number) + float(number), name="y")
        path, optimized = tmp_path / f"{number}.pb", tmp_path / f"{number}.fast.pb"
        path.write_bytes(graph.as_graph_def().SerializeToString())
        done = convert(path, optimized, ConvertSettings.of(engine="onnxruntime", minimum_segment_size=1))
        assert [segment.name for segment in done.segments] == ["TRTEngineOp_000"]
        models.append(optimized)
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "elsewhere"))  # whose engines are not trusted: segments run
    value = np.float32([[1, -2, 3]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = [icebreaker.load(path) for path in models]
        functions = [model.function for model in loaded]
    assert not any(model.engines for model in loaded)
    for number, function in enumerate(functions, 1):
        want = np.maximum(np.maximum(value * number, 0) + number, 0)
        np.testing.assert_allclose(function(tf.constant(value))[0], want)
