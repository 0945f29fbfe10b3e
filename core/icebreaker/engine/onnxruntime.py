"""ONNX Runtime: every CPU, and NVIDIA GPUs where its CUDA provider is installed."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import gpu
from icebreaker.engine import cuda
from icebreaker.engine.numbers.fp16 import EXACT_PRODUCTS, to_half
from icebreaker.engine.numbers.limits import NumberRules, judge
from icebreaker.engine.onnx_sessions import EXACT_INT8
from icebreaker.engine.protocol import BuildOptions, Built, Colour, Engine, Runner
from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message
from icebreaker.reports import EngineLayer, EngineStatus, LayerTime, Words

_PROVIDER = "CUDAExecutionProvider"
_INSTALL = "pip uninstall onnxruntime && pip install onnxruntime-gpu cuda-bindings"
# What the CPU provider does with numbers, as `make op-conformance` finds it.
_RULES = NumberRules(
    title="ONNX Runtime",
    exact=dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceProd", "Pow"), 53),
    hides_nan=frozenset({
        "ReduceMax", "ReduceMin", "MaxPool", "GlobalMaxPool", "TopK", "ArgMax", "ArgMin", "ThresholdedRelu",
        "NonMaxSuppression", "ScatterND", "Unique", "LSTM", "GRU", "RNN", "Scan",
    }),
)  # fmt: skip
# A CUDA graph has a session of its own, with the weights; further shapes run without one.
_MOST_GRAPHS = 4
_LARGE_BYTES = 512 << 20  # a model of more has one graph only

_IN_FP32 = message("cpu_in_fp32", "its CPU provider computes in FP32")
_INT8_IN_FP32 = message("cuda_int8_in_fp32", "its CUDA provider has no INT8 convolutions and computes in FP32")


class OnnxRuntime(Engine):
    """Microsoft's ONNX Runtime."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    colour = Colour(light="#6b4fc9", dark="#b9a2ff")
    payload = "model"
    precisions = ("fp32", "fp16", "int8")
    folds_constants = True

    def status(self) -> EngineStatus:
        """Available wherever the package is; on the GPU where its CUDA provider is, too."""
        try:
            import onnxruntime
        except ImportError as error:
            told = message(
                "engine_not_installed", "{subject} is not installed ({error})", "install_with",
                subject="onnxruntime", error=str(error), command="pip install onnxruntime",
            )  # fmt: skip
            return EngineStatus(self.name, False, False, told)
        title = f"ONNX Runtime {onnxruntime.__version__}"
        device = gpu.find()
        why = _why_not_cuda() if device else ""
        if device and not why:
            detail = message("engine_on_device", "{subject} on {device}", subject=title, device=device.name)
            return EngineStatus(self.name, True, True, detail, {"fp32": "fp32", "fp16": "fp16", "int8": "fp32"})
        detail = message("engine_on_cpu", "{subject} on the CPU", subject=title)
        if device:
            detail = message(
                "engine_not_on_device", "{subject} on the CPU; not on the {device}: {why}",
                subject=title, device=device.name, why=why,
            )  # fmt: skip
        return EngineStatus(self.name, True, True, detail, {"fp32": "fp32", "fp16": "fp32", "int8": "int8"})

    def refusals(self, segment: SegmentModel) -> Mapping[str, Words]:
        """ONNX Runtime tells by loading: its message names the first node that it cannot place."""
        if wrong := judge(segment.onnx, _RULES).refusals:
            return wrong
        try:
            _cpu_session(segment.onnx)
        except IcebreakerError as error:
            match = re.search(r"(?:[Nn]ode|name)[ :]*\(?'?([^\s()':]+)", str(error))
            return {match[1] if match else "": str(error)}
        return {}

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        """Keeps the model, on a GPU with its types converted; a session on it is made by `load`."""
        import onnxruntime

        for why in judge(segment.onnx, _RULES).refusals.values():
            raise IcebreakerError(why)
        options.progress(message("stage_optimize", "Optimizing the graph"), 0.0)
        device = gpu.find() if not _why_not_cuda() else None
        version = f"onnxruntime {onnxruntime.__version__}"
        if device is None:
            precision = "int8" if options.precision == "int8" else "fp32"
            note = _IN_FP32 if options.precision == "fp16" else ""
            return Built(segment.onnx, precision, version, "CPU", note=note)
        model = segment.onnx_bytes()
        precision, note = options.precision, None
        if precision == "fp16":
            model = to_half(model, options.samples)
        elif precision == "int8":
            precision, note = "fp32", _INT8_IN_FP32
        _cuda_session(model, None, captures=False)
        options.progress(message("stage_optimized", "Optimized"), 1.0)
        return Built(model, precision, version, "CUDA", note=note or "")

    def poisons_process(self, error: Exception) -> bool:
        """Asks the GPU."""
        return cuda.is_lost()

    def load(self, payload: Model, precision: str) -> Runner:
        """Makes a runner over one session."""
        why = _why_not_cuda() if gpu.find() else "no NVIDIA GPU"
        if not why:
            if isinstance(payload, Path):
                raise IcebreakerError(
                    "weights_for_cpu", "its weights lie beside the graph, for a CPU", "convert_original_here"
                )
            return _OnCuda(payload, precision == "fp16")
        if precision == "fp16":
            raise IcebreakerError(
                "built_for_gpu", "the engine was built in FP16 for an NVIDIA GPU, which cannot be used here: {why}",
                why=why,
            )  # fmt: skip
        return _OnCpu(payload)


def _why_not_cuda() -> str:
    """Why the CUDA provider cannot be used, with what helps; empty if it can."""
    import onnxruntime

    if _PROVIDER not in onnxruntime.get_available_providers():
        return f"this package has no CUDA provider: {_INSTALL}"
    try:
        cuda.runtime()
    except IcebreakerError as error:
        return str(error)
    return ""


def _options(told: Path | None = None) -> Any:
    """Session options; with a folder `told`, it writes there what it made of the model, and times."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if told is not None:
        options.optimized_model_filepath = str(told / "optimized.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.enable_profiling = True
        options.profile_file_prefix = str(told / "profile")
    options.log_severity_level = 4
    options.add_session_config_entry(*EXACT_INT8)
    # Spinning threads would take the processor from TensorFlow's ops around the segment.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _cpu_session(model: Model, told: Path | None = None) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model, _options(told), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise IcebreakerError(
            "onnxruntime_refuses", "ONNX Runtime refuses the segment: {words}", words=str(error)[:300]
        ) from error


def _cuda_session(
    model: Model, stream: cuda.Stream | None, captures: bool, half: bool = False, told: Path | None = None
) -> Any:
    """A session on the GPU; with `captures` it replays CUDA graphs, which not every model allows."""
    import onnxruntime

    settings = {
        "device_id": "0",
        # FP32 is FP32: TF32 keeps 10 bits of the mantissa, as FP16 does.
        "use_tf32": "1" if half and isinstance(model, bytes) and EXACT_PRODUCTS.encode() not in model else "0",
        "prefer_nhwc": "1" if half else "0",  # what tensor cores want: ResNet-50 in FP16 is 1.2 to 1.4 times faster
        "arena_extend_strategy": "kSameAsRequested",  # TensorFlow has its share of the memory
        "enable_cuda_graph": "1" if captures else "0",
    }
    if stream is not None:
        settings["user_compute_stream"] = str(stream.handle)
    try:
        session = onnxruntime.InferenceSession(
            model, _options(told), providers=[(_PROVIDER, settings), "CPUExecutionProvider"]
        )
    except Exception as error:
        raise IcebreakerError(
            "onnxruntime_refuses_gpu", "ONNX Runtime refuses the segment on the GPU: {words}", words=str(error)[:300]
        ) from error
    if session.get_providers()[0] != _PROVIDER:  # it falls back in silence
        raise IcebreakerError(
            "cuda_provider_broken",
            "ONNX Runtime's CUDA provider cannot start: its libraries do not fit; {command}", command=_INSTALL,
        )  # fmt: skip
    return session


@contextlib.contextmanager
def _failures() -> Any:
    try:
        yield
    except IcebreakerError:
        raise
    except Exception as error:
        raise IcebreakerError("onnxruntime_failed", "ONNX Runtime failed: {words}", words=str(error)[:300]) from error


class _Telling:
    """What ONNX Runtime makes of a model, told by a session of its own: asking slows a session down."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._seen: list[tuple[tuple[int, ...], Any]] = []  # shapes and types of the last inputs

    @property
    def layers(self) -> tuple[EngineLayer, ...]:
        """The nodes that ONNX Runtime runs, once it ran: fused ones with the names of all that went in."""
        if not self._seen or isinstance(self._model, Path):  # a big one: telling takes as much memory again
            return ()
        try:
            found = self._measured([np.zeros(shape, dtype) for shape, dtype in self._seen], 1)
        except Exception:  # no reason to fail a conversion; zeros may be no indices that the model can take
            return ()
        return tuple(layer for layer, _ in found)

    def layer_times(self, inputs: Sequence[np.ndarray], runs: int) -> tuple[LayerTime, ...]:
        """The layers with the median milliseconds of each in so many runs."""
        return tuple(
            LayerTime(layer.name, layer.type, layer.precision, ms) for layer, ms in self._measured(inputs, runs)
        )

    def _measured(self, inputs: Sequence[np.ndarray], runs: int) -> list[tuple[EngineLayer, float]]:
        """The layers, each with its median milliseconds in so many runs."""
        with tempfile.TemporaryDirectory(prefix="icebreaker-") as folder, _failures():
            session = self._telling_session(Path(folder))
            names = [item.name for item in session.get_inputs()]
            for _ in range(runs + 1):
                session.run(None, dict(zip(names, inputs, strict=True)))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            model = self._model if isinstance(self._model, bytes) else self._model.read_bytes()
            return _layers(model, (Path(folder) / "optimized.onnx").read_bytes(), events)

    def _telling_session(self, folder: Path) -> Any:
        return _cpu_session(self._model, folder)


class _OnCpu(_Telling):
    """A session on the CPU."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._session = _cpu_session(model)
        self._names = [item.name for item in self._session.get_inputs()]
        self._watch = judge(model, _RULES).watch

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs on arrays in the host's memory."""
        inputs = [np.asarray(item) for item in inputs]  # ONNX Runtime takes no scalars of numpy
        self._watch(inputs)
        self._seen = [(item.shape, item.dtype) for item in inputs]
        with _failures():
            return self._session.run(None, dict(zip(self._names, inputs, strict=True)))


_PROFILED = re.compile(r"(.*)_kernel_time")


def _layers(model: bytes, optimized: bytes, events: Sequence[Mapping[str, Any]]) -> list[tuple[EngineLayer, float]]:
    """The nodes of an optimized model with what a profile says of each, and the median milliseconds it took.

    The first run warms up and does not count.
    """
    import onnx

    told: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and (match := _PROFILED.fullmatch(event.get("name", ""))):
            told.setdefault(match[1], []).append(event)
    graph = onnx.load_model_from_string(optimized).graph
    fused = _fused(onnx.load_model_from_string(model).graph, [node.name for node in graph.node])
    makers: dict[str, str] = {}  # tensor → layer
    found: list[tuple[EngineLayer, float]] = []
    for node in graph.node:
        seen = told.get(node.name)
        if not seen:  # it did not run: a branch not taken, or a node without a name
            continue
        arguments = seen[-1].get("args", {})
        kinds: list[str] = [kind for output in arguments.get("output_type_shape", ()) for kind in output]
        name = ",".join(fused.get(node.name) or [node.name])
        times = [event["dur"] / 1000 for event in seen[1:]] or [seen[0]["dur"] / 1000]
        layer = EngineLayer(
            name=name,
            type=f"{node.op_type} (NCHWc)" if node.domain.endswith("nchwc") else node.op_type,
            precision=_TYPES.get(kinds[0], kinds[0]) if kinds else "",
            inputs=tuple(dict.fromkeys(makers[tensor] for tensor in node.input if tensor in makers)),
            provider=arguments.get("provider", "").removesuffix("ExecutionProvider"),
        )
        found.append((layer, float(np.median(times))))
        makers.update(dict.fromkeys(node.output, name))
    return found


def _fused(graph: Any, kept: Sequence[str]) -> dict[str, list[str]]:
    """Node of the optimized model → the nodes of the model that it does the work of, in order.

    ONNX Runtime names a fused node after the last one in it, or after that one's output. Those that are gone, and whose
    values go nowhere else, were fused into it.
    """
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.name)
    ends = {item.name for item in graph.output}
    names = {node.name: node for node in graph.node}

    def last(name: str) -> Any:
        if name in names:
            return names[name]
        return makers.get(re.sub(r"_nchwc$|_token_\d+$", "", name))

    anchors = {node.name: layer for layer in kept if (node := last(layer)) is not None}
    found: dict[str, list[str]] = {}
    for name, layer in anchors.items():
        inside = [name]
        for current in inside:  # grows as it goes
            for tensor in names[current].input:
                maker = makers.get(tensor)
                if maker is None or maker.name in anchors or maker.name in inside:
                    continue
                if readers[tensor] <= set(inside) and not ends.intersection(maker.output):
                    inside.append(maker.name)
        found[layer] = inside[::-1]
    return found


@dataclass(frozen=True)
class _Captured:
    """A CUDA graph: it always reads and writes the same memory."""

    session: Any
    binding: Any
    options: Any
    inputs: list[Any]
    outputs: list[Any]

    def replay(self) -> None:
        """Runs it, on what its inputs hold now."""
        self.session.run_with_iobinding(self.binding, self.options)


class _OnCuda(_Telling):
    """The model on the GPU, a `DeviceRunner`. Calls with the same shapes replay one CUDA graph.

    Each graph has a session of its own, which never runs in other shapes: cuDNN compiles kernels for the shapes that a
    convolution meets, and unloads them when it meets others, while a graph would still call them. That ends in
    CUDA_ERROR_ILLEGAL_ADDRESS and spoils the GPU for the process.
    """

    _device = "cuda"

    def __init__(self, model: bytes, half: bool = False) -> None:
        super().__init__(model)
        self._half = half
        self._most_graphs = 1 if len(model) > _LARGE_BYTES else _MOST_GRAPHS
        try:
            self._open(captures=True)
        except IcebreakerError:  # parts of the model run on the CPU
            self._open(captures=False)
        session = self._new or self._plain
        self._inputs = [(item.name, _numpy_type(item.type)) for item in session.get_inputs()]
        self._outputs = [(item.name, _numpy_type(item.type)) for item in session.get_outputs()]
        self._lock = threading.Lock()

    def _open(self, captures: bool) -> None:
        """Makes a stream and one session on it, without any CUDA graph yet."""
        self._stream = cuda.Stream()
        self._graphs: dict[Any, _Captured] = {}
        self._captures = captures
        session = self._session(captures)
        self._new: Any = session if captures else None  # may capture, and has not run yet
        self._plain: Any = None if captures else session  # runs what has no graph

    def _session(self, captures: bool) -> Any:
        return _cuda_session(self._model, self._stream, captures, self._half)

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs on arrays in the host's memory."""
        arrays = [np.ascontiguousarray(value, dtype) for value, (_, dtype) in zip(inputs, self._inputs, strict=True)]
        self._seen = [(item.shape, item.dtype) for item in arrays]
        with self._lock, _failures():
            graph = self._graph_for([array.shape for array in arrays])
            if graph is None:
                feeds = {name: array for (name, _), array in zip(self._inputs, arrays, strict=True)}
                return self._without_graph().run(None, feeds)
            for target, array in zip(graph.inputs, arrays, strict=True):
                self._stream.upload(target.data_ptr(), array)
            graph.replay()
            results = [
                np.empty(value.shape(), dtype) for value, (_, dtype) in zip(graph.outputs, self._outputs, strict=True)
            ]
            for array, source in zip(results, graph.outputs, strict=True):
                self._stream.download(array, source.data_ptr())
            self._stream.wait()
            return results

    def on_device(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs on tensors in the GPU's memory; see `engines.DeviceRunner`."""
        with self._lock, _failures():
            values = cuda.tensors(inputs)
            graph = self._graph_for([tuple(value.shape()) for value in values])
            if graph is None:
                return self._run_bound(self._without_graph(), values, _waits_not())
            for target, value in zip(graph.inputs, values, strict=True):
                self._stream.move(target.data_ptr(), value.data_ptr(), value.tensor_size_in_bytes())
            graph.replay()
            # The next replay writes over the graph's own outputs.
            results = [
                self._allocate(value.shape(), dtype)
                for value, (_, dtype) in zip(graph.outputs, self._outputs, strict=True)
            ]
            for target, source in zip(results, graph.outputs, strict=True):
                self._stream.move(target.data_ptr(), source.data_ptr(), source.tensor_size_in_bytes())
            return results

    def _telling_session(self, folder: Path) -> Any:
        return _cuda_session(self._model, None, captures=False, half=self._half, told=folder)

    def wait(self) -> None:
        """Waits for the GPU; see `engines.DeviceRunner`."""
        self._stream.wait()

    def _without_graph(self) -> Any:
        """The session for shapes that have no CUDA graph."""
        if self._plain is None:
            self._plain = self._session(captures=False)
        return self._plain

    def _graph_for(self, shapes: Sequence[tuple[int, ...]]) -> _Captured | None:
        key = tuple(map(tuple, shapes))
        if key not in self._graphs and self._captures and len(self._graphs) < self._most_graphs:
            try:
                self._graphs[key] = self._capture(shapes)
            except Exception:  # it runs without, only slower; the stream may be left in the middle of a capture
                self._open(captures=False)
        return self._graphs.get(key)

    def _capture(self, shapes: Sequence[tuple[int, ...]]) -> _Captured:
        session, self._new = self._new or self._session(captures=True), None
        inputs = [self._allocate(shape, dtype) for shape, (_, dtype) in zip(shapes, self._inputs, strict=True)]
        for value, (_, dtype) in zip(inputs, self._inputs, strict=True):
            self._stream.upload(value.data_ptr(), np.zeros(value.shape(), dtype))
            self._stream.wait()  # the array goes
        outputs = self._run_bound(session, inputs, _waits_not("-1"))  # tells the outputs' shapes
        binding = session.io_binding()
        for value, (name, _) in zip(inputs, self._inputs, strict=True):
            binding.bind_ortvalue_input(name, value)
        for value, (name, _) in zip(outputs, self._outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        captured = _Captured(session, binding, _waits_not("1"), inputs, outputs)
        # TensorFlow asks after its pending work from a thread of its own, which would end the capture.
        self._stream.wait_for_all()
        for _ in range(3):  # it warms up, captures, replays
            captured.replay()
        self._stream.wait()
        return captured

    def _run_bound(self, session: Any, inputs: Sequence[Any], options: Any) -> list[Any]:
        """One run without a CUDA graph; ONNX Runtime allocates the outputs."""
        binding = session.io_binding()
        for value, (name, _) in zip(inputs, self._inputs, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name, _ in self._outputs:
            binding.bind_output(name, self._device, 0)
        session.run_with_iobinding(binding, options)
        self._stream.wait()
        return list(binding.get_outputs())

    def _allocate(self, shape: Sequence[int], dtype: Any) -> Any:
        from onnxruntime import OrtValue

        return OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, self._device, 0)


def _waits_not(graph: str = "") -> Any:
    """Options of a run after which `Stream.wait` does the waiting, with a CUDA graph's number; "-1" is none.

    A session that may capture captures whenever no number is given.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    if graph:
        options.add_run_config_entry("gpu_graph_id", graph)
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


# ONNX Runtime's names of types that numpy calls otherwise.
_TYPES = {"float": "float32", "double": "float64", "bool": "bool"}


def _numpy_type(name: str) -> Any:
    """The numpy type of ONNX Runtime's `tensor(float)` and the like."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(_TYPES.get(inner, inner))
    except TypeError as error:
        raise IcebreakerError(
            "gpu_dtype_unsupported", "ONNX Runtime cannot take values of type {dtype} on the GPU", dtype=inner
        ) from error
