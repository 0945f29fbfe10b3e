"""OpenVINO: CPUs (the fastest engine on most), Intel GPUs and NPUs.

The payload is the segment's ONNX model, so that it outlives OpenVINO's versions; what NNCF has quantized is OpenVINO's
own form of a model (IR), which likewise is data for a parser. Shapes: OpenVINO is fastest on static ones, and compiles
for long, so the model is compiled for the first set of input shapes it meets, and once more for all others
(`compiled_shapes`); where there are several devices, for each set anew, for the device that is fastest on them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import logging
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from icebreaker.engine import openvino_marks
from icebreaker.engine.compiled_shapes import CompiledShapes, Requests
from icebreaker.engine.native_form import NativeForm
from icebreaker.engine.numbers.float_mode import exact_near_zero
from icebreaker.engine.numbers.limits import NumberRules, Watch, judge
from icebreaker.engine.protocol import BuildOptions, Built, Colour, Engine, Runner
from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message
from icebreaker.reports import EngineLayer, EngineStatus, LayerTime, Words

_KEPT_SHAPES = 8
_CROWDED = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "AUTO"}  # for calls of several threads at once
_NNCF_ROWS = 300  # more do not make NNCF's ranges better
_LAYERS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")
_IR = b"icebreaker openvino ir 1\n"  # then the length of the XML in eight bytes, the XML, the weights
_UNTRUE = "OpenVINO multiplies by the reciprocal where it should divide, and the last digit decides here"
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": ""}
# What the CPU plugin does with numbers, as `make op-conformance` finds it.
_RULES = NumberRules(
    title="OpenVINO",
    bits=32,
    exact=dict.fromkeys((
        "Div", "Mod", "Pow", "MatMul", "Clip", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "ReduceSum",
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "Relu", "ReverseSequence",
        "Pad", "CastToBool",
    ), 24),
    saturates=frozenset({"Add", "Sub", "Mul", "Neg", "Abs", "Sum"}),
    keeps_float64=False,
    refused={"Mod": "loses digits of floats"},
    rounds_division=True,
    checks_places=False,
    keeps_nan=frozenset({
        "Abs", "Add", "And", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten",
        "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual", "Mul",
        "Neg", "Not", "Or", "Reciprocal", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile",
        "Transpose", "Unsqueeze", "Where", "Xor",
    }),
    hides_nan=frozenset({
        "ArgMax", "ArgMin", "Celu", "Clip", "Exp", "GlobalMaxPool", "HardSigmoid", "LRN", "LogSoftmax", "Max",
        "MaxPool", "Min", "NonMaxSuppression", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "Relu", "Softmax",
        "ThresholdedRelu", "TopK",
    }),
    wrong_on_nothing=None,  # its Gather of no places divides by zero, and ends the process
)  # fmt: skip


class OpenVINO(Engine):
    """Intel's OpenVINO."""

    name = "openvino"
    title = "OpenVINO"
    colour = Colour(light="#0a77bf", dark="#7ea6ff")
    payload = "model"
    precisions = ("fp32", "fp16", "int8")
    takes_unsigned_int8 = True
    takes_nncf = True
    folds_constants = True

    def status(self) -> EngineStatus:
        """Available wherever the package is; reduced precision needs a processor that has it."""
        try:
            core, version = _core()
        except ImportError as error:
            told = message(
                "engine_not_installed", "{subject} is not installed ({error})", "install_with",
                subject="openvino", error=str(error), command="pip install openvino",
            )  # fmt: skip
            return EngineStatus(self.name, False, False, told)
        devices = ", ".join(core.get_property(device, "FULL_DEVICE_NAME") for device in _devices(core))
        reduced = "bf16" if _has_bf16(core) else "fp32"
        about = {"version": version, "devices": devices, "nncf": nncf_version()}
        detail = message(
            "openvino_with_nncf" if about["nncf"] else "openvino_without_nncf",
            "OpenVINO {version} on {devices}; with NNCF {nncf}" if about["nncf"]
            else "OpenVINO {version} on {devices}; the extra nncf adds a second way to INT8",
            **about,
        )  # fmt: skip
        return EngineStatus(
            self.name, True, True, detail,
            {"fp32": "fp32", "fp16": reduced, "int8": "int8"},
        )  # fmt: skip

    def refusals(self, segment: SegmentModel) -> Mapping[str, Words]:
        """Asks the CPU plugin which nodes it takes; with them, those in which it would go wrong."""
        core, _ = _core()
        try:
            network = _read(core, segment.onnx)
        except RuntimeError as error:
            return {"": _words(error)}
        taken = core.query_model(network, "CPU")
        if wrong := judge(segment.onnx, _RULES).refusals:
            return wrong
        untrue = openvino_marks.untrue_quotients(network)
        return dict.fromkeys(untrue, _UNTRUE) | {
            op.get_friendly_name(): f"OpenVINO's CPU plugin does not take {op.get_type_name()}"
            for op in network.get_ops()
            if op.get_friendly_name() not in taken and op.get_type_name() not in ("Parameter", "Result", "Constant")
        }

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        """Keeps the model; it is read, and compiled for the shapes it meets, by what `load` gives."""
        if not _is_ir(segment.onnx):  # which NNCF made of a float model that was judged
            for why in judge(segment.onnx, _RULES).refusals.values():
                raise IcebreakerError(why)
        core, version = _core()
        precision, note = options.precision, None
        if precision == "fp16":
            precision = "bf16" if _has_bf16(core) else "fp32"
            if precision != "bf16":
                note = message("no_bfloat16", "this processor has no bfloat16, so FP32 is used")
        return Built(segment.onnx, precision, f"openvino {version}", ", ".join(_devices(core)), note=note or "")

    def load(self, payload: Model, precision: str) -> Runner:
        """Makes a runner that compiles for each new set of input shapes."""
        core, _ = _core()
        try:
            return _Runner(core, payload, precision)
        except (RuntimeError, UnicodeDecodeError) as error:  # it quotes what it could not read
            raise IcebreakerError(
                "openvino_refuses", "OpenVINO refuses the segment: {words}", words=_words(error)
            ) from error


def nncf_version() -> str:
    """The version of NNCF that is installed; empty if none is. NNCF is not imported for that: it takes seconds."""
    try:
        return importlib.metadata.version("nncf")
    except importlib.metadata.PackageNotFoundError:
        return ""


def quantized_by_nncf(
    model: bytes, rows: Iterable[Mapping[str, np.ndarray]], keep: Collection[str] = ()
) -> tuple[bytes, int]:
    """What NNCF makes of a float model: a payload for `OpenVINO.load`, and how many layers compute in INT8.

    Args:
        model: The float ONNX model.
        rows: Input name → array, for single samples; may be read more than once.
        keep: Layers that stay float, by ONNX name.

    Raises:
        IcebreakerError: NNCF does not take it, in its words.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    core, _ = _core()
    network = core.read_model(model, b"")
    names = [op.get_friendly_name() for op in network.get_ops() if op.get_type_name() in _LAYERS]
    # OpenVINO splits a convolution from its bias: "conv/WithoutBiases".
    ignored = [name for name in names if name in keep or name.rpartition("/")[0] in keep]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it draws bars
            made = nncf.quantize(
                network, nncf.Dataset(rows), subset_size=_NNCF_ROWS, ignored_scope=nncf.IgnoredScope(names=ignored)
            )
    except IcebreakerError:
        raise
    except Exception as error:  # of many kinds
        raise IcebreakerError("nncf_refuses", "NNCF: {words}", words=_words(error)) from error
    count = sum(op.get_type_name() in _LAYERS and _in_int8(op.input(1)) for op in made.get_ops())
    return _as_ir(made), count


def _as_ir(network: Any) -> bytes:
    """A network in OpenVINO's own form."""
    import openvino

    with tempfile.TemporaryDirectory(prefix="icebreaker-") as name:
        text, weights = Path(name, "model.xml"), Path(name, "model.bin")
        openvino.serialize(network, text, weights)
        xml = text.read_bytes()
        return _IR + len(xml).to_bytes(8, "little") + xml + weights.read_bytes()


def _in_int8(port: Any) -> bool:
    """Whether weights are stored in 8 bits, or rounded to as many."""
    while True:
        source = port.get_source_output().get_node()
        if source.get_type_name() == "FakeQuantize" or source.get_element_type().get_size() == 1:
            return True
        if not source.get_input_size():
            return False
        port = source.input(0)


def _is_ir(payload: Model) -> bool:
    """Whether it is OpenVINO's own form, and no ONNX model."""
    return isinstance(payload, bytes) and payload.startswith(_IR)


def _read(core: Any, payload: Model) -> Any:
    """The network in a payload; of equals its TopK takes the first, as TensorFlow's does."""
    if isinstance(payload, Path):
        network = core.read_model(payload)
    elif not payload.startswith(_IR):
        network = core.read_model(payload, b"")
    else:
        start = len(_IR) + 8
        end = start + int.from_bytes(payload[len(_IR) : start], "little")
        network = core.read_model(payload[start:end], payload[end:])
    for op in network.get_ops():
        if op.get_type_name() == "TopK":
            op.set_attribute("stable", True)
    return network


def _watched(payload: Model, network: Any) -> Watch:
    """What to look at in a model's inputs."""
    if _is_ir(payload):  # NNCF's, of a model whose numbers are floats
        floats = tuple(port.get_element_type().is_real() for port in network.inputs)
        return Watch(_RULES.title, (None,) * len(floats), floats, takes_nothing=False)
    return judge(payload, _RULES).watch


class _Runner:
    def __init__(self, core: Any, model: Model, precision: str) -> None:
        self._core = core
        network = _read(core, model)
        # One that lies in files is big: it is read when it is to be compiled, and compiled for one set of shapes.
        self._file = model if isinstance(model, Path) else None
        self._network: Any = None if self._file else network
        self._precision = precision
        # What must stay FP32 where the rest is 16 bits.
        self._exact: frozenset[str] = frozenset()
        if any(self._hint(device) in openvino_marks.HALVES for device in _devices(core)):
            self._exact = openvino_marks.exact_names(network)
            if self._exact and self._file is None:
                self._network = openvino_marks.marked(core, network, self._exact)
        self._watch = _watched(model, network)
        self._open = network.is_dynamic()
        self._known = frozenset(item.get_friendly_name() for item in network.get_ops())
        self._outputs = len(network.outputs)
        takes_all = self._open and _devices(core) == ["CPU"]
        takes_crowds = _devices(core) == ["CPU"] and self._file is None
        self._shapes = CompiledShapes(
            (lambda: self._for_all_shapes({})) if takes_all else None,
            1 if self._file else _KEPT_SHAPES,
            compile_crowded=(lambda: self._for_all_shapes(_CROWDED)) if takes_crowds else None,
            big=self._file is not None,
        )

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        arrays = [np.asarray(item, order="C") for item in inputs]
        self._watch(arrays)
        with self._shapes.turn() as crowded:
            if crowded is not None:
                with contextlib.suppress(RuntimeError):
                    return self._run(crowded, arrays)
            requests, is_own = self._requests(arrays)
            try:
                if not is_own:
                    with contextlib.suppress(RuntimeError):
                        return self._run(requests, arrays)
                    requests, _ = self._requests(arrays, own=True)
                return self._run(requests, arrays)
            except RuntimeError as error:
                raise IcebreakerError("openvino_failed", "OpenVINO failed: {words}", words=_words(error)) from error

    def _run(self, requests: Requests, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with requests.one() as request:
            with exact_near_zero():
                request.infer(arrays, share_inputs=True)
            # Copies: the request's own memory is written again by the next call.
            return [request.get_output_tensor(i).data.copy() for i in range(self._outputs)]

    @property
    def has_native_form(self) -> bool:
        """Whether the native op can do the same: not if the network is big, or what is compiled of it is looked at."""
        return self._file is None and not self._exact and _devices(self._core) == ["CPU"]

    def native_form(self) -> NativeForm:
        """What the native op runs it from, where it has one."""
        words = {False: "NO", True: "YES"}
        config = {
            name: words[value] if isinstance(value, bool) else value for name, value in self._config("CPU").items()
        }
        return NativeForm(_as_ir(self._network), config, self._watch)

    @property
    def layers(self) -> tuple[EngineLayer, ...]:
        """The layers that OpenVINO made of the segment, once it ran: fused ones with all their names."""
        if self._shapes.latest is None:
            return ()
        model = self._shapes.latest.compiled.get_runtime_model()
        return tuple(layer for _, layer in _layers(model, self._known))

    def layer_times(self, inputs: Sequence[np.ndarray], runs: int) -> tuple[LayerTime, ...]:
        """The layers with the median milliseconds of each in so many runs; counting needs a request of its own."""
        arrays = [np.asarray(item, order="C") for item in inputs]
        compiled = self._requests(arrays)[0].compiled
        device = compiled.get_property("EXECUTION_DEVICES")[0].split(".")[0]
        try:
            request = self._compiled(self._shaped(arrays), device, {"PERF_COUNT": True}).create_infer_request()
            times: dict[str, list[float]] = {}
            for number in range(runs + 1):
                request.infer(arrays, share_inputs=True)
                for item in request.profiling_info if number else ():
                    times.setdefault(item.node_name, []).append(item.real_time.total_seconds() * 1000)
            found = _layers(request.get_compiled_model().get_runtime_model(), self._known)
        except RuntimeError as error:
            raise IcebreakerError("openvino_failed", "OpenVINO failed: {words}", words=_words(error)) from error
        return tuple(
            LayerTime(layer.name, layer.type, layer.precision, float(np.median(times[key])))
            for key, layer in found
            if key in times
        )

    def _requests(self, inputs: list[np.ndarray], *, own: bool = False) -> tuple[Requests, bool]:
        """What to run on inputs of these shapes, and whether it was compiled for them alone, as `own` demands."""
        shapes = tuple(item.shape for item in inputs)
        key = shapes if self._open else ()
        try:
            if own:
                return self._shapes.own(key, lambda: self._fastest(self._shaped(inputs), inputs)), True
            return self._shapes.get(key, lambda: self._fastest(self._shaped(inputs), inputs))
        except RuntimeError as error:
            raise IcebreakerError(
                "openvino_refuses_shapes", "OpenVINO refuses the segment at shapes {shapes}: {words}",
                shapes=str(shapes), words=_words(error),
            ) from error  # fmt: skip

    def _for_all_shapes(self, extra: Mapping[str, Any]) -> Any:
        """Compiles the model with its open shapes, for the CPU."""
        network = self._network if self._file is None else _read(self._core, self._file)
        return self._compiled(network, "CPU", extra).create_infer_request()

    def _shaped(self, inputs: list[np.ndarray]) -> Any:
        """The model with the shapes of these inputs."""
        network = self._network if self._file is None else _read(self._core, self._file)
        if self._open:
            network = network.clone()
            network.reshape({port: list(item.shape) for port, item in zip(network.inputs, inputs, strict=True)})
        return network

    def _fastest(self, network: Any, inputs: list[np.ndarray]) -> Any:
        """Compiles for every device, and keeps the one that is fastest on these inputs."""
        found: list[tuple[float, Any]] = []
        devices = _devices(self._core)
        for device in devices:
            try:
                request = self._compiled(network, device).create_infer_request()
                found.append((_seconds(request, inputs) if len(devices) > 1 else 0.0, request))
            except RuntimeError:
                if device == "CPU":  # which takes what the others do not
                    raise
        return min(found, key=lambda item: item[0])[1]

    def _compiled(self, network: Any, device: str, extra: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """Compiles for a device."""
        with exact_near_zero():  # its threads are as the one that makes them
            return openvino_marks.compile_exactly(
                self._core, network, device, self._config(device) | dict(extra), self._exact
            )

    def _config(self, device: str) -> dict[str, Any]:
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            # Not pinned: TensorFlow's threads, and other programs, want the same cores.
            config |= {"NUM_STREAMS": "1", "ENABLE_CPU_PINNING": False}
        if self._precision == "fp32":
            config["EXECUTION_MODE_HINT"] = "ACCURACY"
        hint = self._hint(device)
        return config | ({"INFERENCE_PRECISION_HINT": hint} if hint else {})

    def _hint(self, device: str) -> str:
        """What a device shall compute in."""
        if self._precision == "int8" and device == "CPU" and _has_bf16(self._core):
            return "bf16"  # what stays float in an INT8 model
        if self._precision == "bf16" and device != "CPU":
            return "f16"
        return _HINTS[self._precision]


def _layers(model: Any, known: frozenset[str]) -> list[tuple[str, EngineLayer]]:
    """OpenVINO's own name of each layer, and what to tell of it; `known` are the names in the model it was given."""
    found: list[tuple[str, EngineLayer]] = []
    names: dict[str, str] = {}  # of what depends on an input; the rest is prepared once, as it is compiled
    for item in model.get_ordered_ops():
        told = {key: value.astype(str) for key, value in item.get_rt_info().items()}
        kind = told.get("layerType") or item.get_type_name()
        key = item.get_friendly_name()
        sources = [port.get_source_output().get_node().get_friendly_name() for port in item.inputs()]
        if kind in ("Input", "Parameter"):
            names[key] = ""
        elif kind not in ("Output", "Result") and any(source in names for source in sources):
            parts = told.get("originalLayersNames", "").split(",")
            name = names[key] = ",".join(part for part in parts if part in known) or key  # others are made up
            inputs = dict.fromkeys(names[source] for source in sources if names.get(source))
            precision = told.get("runtimePrecision", "")
            found.append((key, EngineLayer(name, kind, precision, tuple(inputs))))
    return found


_shared: list[Any] = []


def _core() -> tuple[Any, str]:
    """One Core for the process: making one reads every plugin."""
    import openvino

    if not _shared:
        _shared.append(openvino.Core())
    return _shared[0], openvino.__version__.split("-")[0]


@functools.cache  # asking takes a while, and there is one Core
def _devices(core: Any) -> Sequence[str]:
    """The CPU, and Intel's GPUs and NPUs where their drivers are."""
    return ["CPU", *(name for name in core.available_devices if name.startswith(("GPU", "NPU")))]


def _seconds(request: Any, inputs: list[np.ndarray]) -> float:
    """Shortest of a few calls."""
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        request.infer(inputs, share_inputs=True)
        times.append(time.perf_counter() - begun)
    return min(times)


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _words(error: Exception) -> str:
    """The last lines of OpenVINO's message say what is wrong; the first ones say where in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-3:])[:300]
