"""The layers that TensorRT made of a segment: from its inspector, or from the builder's log where no GPU is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from icebreaker.reports import EngineLayer

_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), Inputs: (?P<rest>.*)$", re.MULTILINE)
_TYPES = {
    "Float": "fp32", "FP32": "fp32", "Half": "fp16", "FP16": "fp16", "BFloat16": "bf16", "BF16": "bf16",
    "Int8": "int8", "FP8": "fp8", "Int32": "int32", "Int64": "int64", "Bool": "bool",
}  # fmt: skip


def layers_in_log(text: str) -> tuple[EngineLayer, ...]:
    """The VERBOSE message "Layers:", the only report there is without a GPU.

    A layer's precision is its first input's type: for a quantized convolution the type that it multiplies in.
    """
    return tuple(
        _layer(match["name"], match["type"], re.findall(r"Datatype: (\w+)", match["rest"]), match["rest"])
        for match in _LAYER.finditer(text.partition("\nI/O Tensors:")[0])
    )


def inspected_layers(trt: Any, log: Any, plan: Any) -> tuple[EngineLayer, ...]:
    """The engine inspector's report: names, types, precisions and tactics."""
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = True  # it was built here, just now
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return ()
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers = (item for item in json.loads(text).get("Layers", ()) if isinstance(item, Mapping))
    return tuple(
        _layer(
            item.get("Name", ""), item.get("LayerType", ""),
            [str(side.get("Datatype") or side.get("Format/Datatype", "")) for side in item.get("Inputs", ())],
            item.get("Metadata", ""), item.get("TacticName", ""),
        )
        for item in layers
    )  # fmt: skip


def _layer(name: str, kind: str, types: Sequence[str], metadata: str, tactic: str = "") -> EngineLayer:
    first = types[0] if types else ""
    # The inspector writes "Half" or, in older versions, words such as "Row major linear FP16 format".
    precision = next((ours for theirs, ours in _TYPES.items() if theirs in first.split()), first.lower())
    nodes = re.findall(r"\[ONNX Layer: ([^\]]*)\]", metadata)
    return EngineLayer(name, kind, precision, tactic=tactic, nodes=tuple(nodes))
