"""TF-TRT's old interface, for scripts that still hold the old calls: change the import line, and they run.

    from icebreaker import create_inference_graph, calib_graph_to_infer_graph  # TensorFlow 1
    from icebreaker import tftrt as trt  # TensorFlow 2: trt.TrtGraphConverterV2

What comes back is an ordinary GraphDef or function whose engines are live in this process; `save` writes the portable
form that `icebreaker convert` writes. Conversions run in this process, as those of TF-TRT did, unless `session_config`
limits the GPU's memory: TensorFlow heeds that only in a process that has not used the GPU yet, so a worker does them
then.

A calibration graph records what enters each segment into a folder that its nodes name. Nothing is kept in a global, so
another process can turn it into the INT8 graph.
"""

from __future__ import annotations

from icebreaker.jobs import supervisor
from icebreaker.tftrt.arguments import (
    DEFAULT_TRT_CONVERSION_PARAMS,
    DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
    BadArgument,
    ConversionWarning,
    TrtConversionParams,
    TrtPrecisionMode,
    supported_profile_strategies,
)
from icebreaker.tftrt.version_1 import (
    TrtGraphConverter,
    calib_graph_to_infer_graph,
    create_inference_graph,
    portable,
    save,
    save_saved_model,
)
from icebreaker.tftrt.version_2 import TrtGraphConverterV2

__all__ = [
    "DEFAULT_TRT_CONVERSION_PARAMS",
    "DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES",
    "BadArgument",
    "ConversionWarning",
    "TrtConversionParams",
    "TrtGraphConverter",
    "TrtGraphConverterV2",
    "TrtPrecisionMode",
    "calib_graph_to_infer_graph",
    "create_inference_graph",
    "portable",
    "save",
    "save_saved_model",
    "supervisor",
    "supported_profile_strategies",
]
