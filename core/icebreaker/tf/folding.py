"""Folds what is known beforehand into constants, with Grappler: a batch norm into the weights before it, for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def folded(definition: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The graph (TensorFlow's GraphDef) with constants and batch norms folded; the named tensors stay."""
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    rewrite: Any = config.graph_options.rewrite_options
    rewrite.optimizers[:] = ["constfold", "function", "dependency"]
    rewrite.meta_optimizer_iterations = rewrite.TWO
    rewrite.experimental_disable_folding_quantization_emulation = True
    config.graph_options.infer_shapes = True
    meta = meta_graph_pb2.MetaGraphDef(graph_def=definition)
    fetches = meta_graph_pb2.CollectionDef()
    fetches.node_list.value.extend([*inputs, *outputs])
    meta.collection_def["train_op"].CopyFrom(fetches)
    try:
        return tf_optimizer.OptimizeGraph(config, meta)
    except Exception:  # Grappler is a help, not a need
        return definition
