"""XLA, TensorFlow's own compiler: what it builds is a function in the written graph, which plain TensorFlow runs.

In half precision on an NVIDIA GPU it is the fastest from some batch size on. On CPUs it compiles in FP32 and mostly
loses, so `auto` does not try it there. Nothing is compiled beforehand: TensorFlow compiles for each set of shapes when
they first come, which takes seconds on a GPU.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from icebreaker import gpu
from icebreaker.engine.protocol import BuildOptions, Built, Colour, Engine, Runner
from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.engine.xla import function, ops
from icebreaker.errors import IcebreakerError
from icebreaker.graph.external_weights import MAPPED
from icebreaker.messages import Message, message
from icebreaker.reports import EngineStatus, Words
from icebreaker.tensors import Tensor

_FOR_GPU = message(
    "xla_for_gpu",
    "it is for machines with an NVIDIA GPU, where plain TensorFlow compiles it at the first call with each shape, "
    "in seconds; elsewhere Icebreaker runs the original nodes",
)
_IN_FP32 = message("xla_cpu_in_fp32", "on a CPU it computes in FP32")


class XLA(Engine):
    """TensorFlow's XLA."""

    name = "xla"
    title = "XLA"
    colour = Colour(light="#a8451a", dark="#ff9e6b")
    starts_from = "tensorflow"
    payload = "function"
    precisions = ("fp32", "fp16")
    widens_segments = False
    folds_constants = True

    def status(self) -> EngineStatus:
        """Available wherever TensorFlow is, which is not imported for that; it takes seconds."""
        if importlib.util.find_spec("tensorflow") is None:
            told = message("tensorflow_missing", "TensorFlow is not installed", "install_with",
                           command="pip install tensorflow")  # fmt: skip
            return EngineStatus(self.name, False, False, told)
        title = f"XLA in TensorFlow {_version()}"
        if device := gpu.find():
            told = message("engine_on_device", "{subject} on {device}", subject=title, device=device.name)
            return EngineStatus(self.name, True, True, told, {"fp32": "fp32", "fp16": "fp16", "int8": "fp32"})
        told = message(
            "xla_on_cpu", "{subject} on the CPU, where it is mostly slower, so it has to be chosen by name",
            subject=title,
        )  # fmt: skip
        return EngineStatus(self.name, True, True, told, {"fp32": "fp32", "fp16": "fp32", "int8": "fp32"})

    def joins_auto(self) -> bool:
        """On GPUs; on a CPU it would cost every conversion seconds, and win hardly ever."""
        return _sees_gpu()

    def supported_ops(self) -> frozenset[str]:
        """What can be compiled for shapes that are known."""
        return ops.SUPPORTED

    def why_not(self, op: str) -> Message | None:
        """Tells ops apart whose results have no known shape, that call functions, that raise."""
        return ops.why_not(op)

    def refusals(self, segment: SegmentModel) -> Mapping[str, Words]:
        """Told by ops and types: compiling would take seconds."""
        definition = segment.graph_def()
        if any(node.op == MAPPED for node in definition.node):
            return {"": message("xla_mapped", "its weights lie in files, which XLA does not read")}
        return ops.refusals(definition, _sees_gpu())

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        """Makes the function: batch norms folded, on a GPU in half precision if that is asked for."""
        if refused := self.refusals(segment):
            raise IcebreakerError(next(iter(refused.values())))
        options.progress(message("stage_optimize", "Optimizing the graph"), 0.0)
        on_gpu = _sees_gpu()
        precision = "fp16" if options.precision == "fp16" and on_gpu else "fp32"
        note: Words = _IN_FP32 if options.precision == "fp16" else ""
        made = function_of(segment, options.samples, precision, "GPU" if on_gpu else "CPU")
        options.progress(message("stage_compile", "Compiling"), 0.5)  # as it is loaded, and called
        return Built(
            made.SerializeToString(deterministic=True), precision, f"tensorflow {_version()}",
            "GPU" if on_gpu else "CPU", note=_FOR_GPU if on_gpu else note,
        )  # fmt: skip

    def load(self, payload: Model, precision: str) -> Runner:
        """Makes a runner over a session; nothing is compiled yet."""
        assert isinstance(payload, bytes)  # noqa: S101 - `build` gives no file
        made = function.read(payload)
        if function.is_for_gpu(made) and gpu.find() is None:
            raise IcebreakerError(
                "xla_built_for_gpu", "it was made for an NVIDIA GPU, and there is none", "convert_original_here"
            )
        return _Runner(made)


def function_of(segment: SegmentModel, samples: Sequence[Sequence[np.ndarray]], precision: str, device: str) -> Any:
    """The FunctionDef that XLA is to compile.

    Args:
        segment: The segment.
        samples: Sets of values for its inputs, from which FP16 learns what it cannot hold.
        precision: `fp32` or `fp16`.
        device: What it is made for, CPU or GPU.
    """
    from icebreaker.engine.xla.half import to_half
    from icebreaker.tf.folding import folded

    names = [port.name for port in segment.inputs]
    outputs = [Tensor.parse(port.name) for port in segment.outputs]
    definition = folded(segment.graph_def(), names, [port.name for port in segment.outputs])
    if precision == "fp16":
        places = [Tensor.parse(name).node for name in names]
        feeds = [dict(zip(places, values, strict=True)) for values in samples]
        definition, outputs = to_half(definition, outputs, feeds)
    return function.made_from(definition, segment.inputs, outputs, device)


def _version() -> str:
    try:
        return importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:  # one of its other packages
        import tensorflow as tf

        return tf.__version__


def _sees_gpu() -> bool:
    """Whether TensorFlow has a GPU to compile for."""
    if gpu.find() is None:
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


class _Runner:
    """The function in a session of its own; arrays in the host's memory come and go."""

    def __init__(self, made: Any) -> None:
        self._function = made

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs it, which compiles it for shapes that are new."""
        import tensorflow as tf

        try:
            return self._call(*inputs)
        except tf.errors.OpError as error:
            said = " ".join(str(error.message).split())[:300]
            raise IcebreakerError("xla_failed", "XLA failed: {words}", words=said) from error

    @cached_property
    def _call(self) -> Any:
        import tensorflow as tf

        from icebreaker.tf.session import session_config

        definition, inputs, outputs = function.calling(self._function)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
        session = tf.compat.v1.Session(graph=graph, config=session_config())
        get = graph.get_tensor_by_name
        return session.make_callable(list(map(get, outputs)), list(map(get, inputs)))
