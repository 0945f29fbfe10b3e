"""TensorRT (10.x, 11.x) and TensorRT-RTX: one code over two vendor modules.

Networks are strongly typed, the only kind that TensorRT 11 and RTX have: FP16 is made by converting the model's
types (`half`), INT8 by the Q/DQ nodes that the model carries. RTX builds on machines without a GPU; TensorRT does not.

What a build gives is one line of JSON (names, types, versions, GPUs), then the plan, then for a weightless plan the
ONNX model whose weights go into it: so that a plan for another version, GPU or driver is recognized before it is
loaded, and types that TensorRT narrows (float64) are given back.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from icebreaker import gpu
from icebreaker.engines import cuda
from icebreaker.engines.onnx_nodes import reads
from icebreaker.engines.protocol import BuildOptions, Built, Colour, Engine, Progress, Runner
from icebreaker.engines.segment_model import Model, SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.reports.reports import EngineStatus
from icebreaker.settings import ENGINE_OPTIONS
from icebreaker.storage import cache

_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
_ROUNDS = 10  # how often the parser is asked about one model, less the nodes it has refused
_LEVELS = {"INTERNAL_ERROR": "error", "ERROR": "error", "WARNING": "warning", "INFO": "info", "VERBOSE": "debug"}


class TensorRT(Engine):
    """NVIDIA TensorRT 10 or 11, for data-centre and workstation GPUs."""

    name = "tensorrt"
    title = "TensorRT"
    colour = Colour(light="#3d7f14", dark="#8fd46a")
    precisions = ("fp32", "fp16", "int8")
    builder_options: ClassVar[Mapping[str, str]] = dict.fromkeys(ENGINE_OPTIONS, "") | {
        "compute_capabilities": "it builds for the GPU that is here; hardware compatibility makes that more",
    }
    _module = "tensorrt"
    _install = "pip install tensorrt cuda-bindings"
    _oldest = 10

    def status(self) -> EngineStatus:
        """Whether it builds and runs on this machine, and if not, why."""
        try:
            trt = self._import()
        except IcebreakerError as error:
            here = gpu.find()
            gain = f"; for this {here.name} it would add {self._gain(here)}" if here else ""
            return EngineStatus(self.name, builds=False, runs=False, detail=f"{error}{gain}")
        title = f"{self.title} {trt.__version__}"
        runs = False
        try:
            device = gpu.read()
            why = self._unfit(trt, device)
        except IcebreakerError as error:
            device, why = None, str(error)
        if why or device is None:
            detail = self._without_gpu(title, why, trt)
        else:
            try:
                cuda.runtime()
                runs, detail = True, f"{title} on {device.name} ({device.architecture})"
            except IcebreakerError as error:
                detail = f"{title} builds but cannot run: {error}"
        return EngineStatus(
            self.name, self._builds_without_gpu or not why, runs, detail, _PRECISIONS, self.builder_options,
            self._targets(trt),
        )  # fmt: skip

    def refusals(self, segment: SegmentModel) -> Mapping[str, str]:
        """ONNX node name → the parser's words; empty if it takes the whole model.

        The parser stops looking behind a node that it refuses, so such nodes are taken out, their outputs made inputs,
        and the rest is asked again.
        """
        import onnx

        trt = self._import()
        log = _logger(trt)
        model = segment.onnx_bytes()
        remaining = onnx.load_from_string(model)
        types: dict[str, Any] = {}
        refused = {
            node.name: f"{self.title}: {self._unbuilt[node.op_type]}"
            for node in remaining.graph.node
            if node.op_type in self._unbuilt
        }
        for _ in range(_ROUNDS):
            network, parser = _parser(trt, trt.Builder(log), log)
            if parser.supports_model_v2(model):
                break
            nodes = remaining.graph.node
            taken = {index for part in range(parser.num_subgraphs) for index in parser.get_subgraph_nodes(part)}
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            owners = {name: index for index, node in enumerate(nodes) for name in _names_in(node)}
            words = {owners.get(error.node_name(), -1): _words(error, self.title) for error in errors}
            general = next(iter(words.values()), f"{self.title} does not take it")
            found = sorted(({*range(len(nodes))} - taken) | (words.keys() - {-1}))
            del parser, network
            refused |= {nodes[index].name: words.get(index, general) for index in found or range(len(nodes))}
            if not found or len(found) == len(nodes):
                break
            types = types or _tensor_types(onnx, remaining)
            gone = {output for index in found for output in nodes[index].output}
            for index in reversed(found):
                del nodes[index]
            opened = gone.intersection(name for node in nodes for name in reads(node))
            kept = [item for item in remaining.graph.output if item.name not in gone] or [
                types[output] for node in nodes for output in node.output if output in types
            ][-1:]
            if not kept or not opened <= types.keys():
                break
            remaining.graph.input.extend(types[output] for output in sorted(opened))
            del remaining.graph.output[:]
            remaining.graph.output.extend(kept)
            model = remaining.SerializeToString()
        return refused

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        """Builds a plan; on a machine without a GPU one for other machines, where the engine can."""
        import onnx

        trt = self._import()
        for name, why in self.builder_options.items():
            if why and getattr(options, name) != getattr(BuildOptions(), name):
                raise IcebreakerError(f"{ENGINE_OPTIONS[name]} is not to be had with {self.name}: {why}")
        device = gpu.find()
        if device is None and not self._builds_without_gpu:
            raise IcebreakerError(f"{self.title} builds on machines with an NVIDIA GPU only: use tensorrt-rtx here")
        model = segment.onnx_bytes()
        try:
            declared = onnx.load_from_string(model).graph
        except Exception as error:  # protobuf's own kind
            raise IcebreakerError(f"the ONNX model cannot be read: {error}") from error
        if options.precision != "fp32":
            from icebreaker.engines.fp16 import to_half

            model = to_half(model, options.samples)
        log = _logger(trt, options.log)
        builder = trt.Builder(log)
        network, parser = _parser(trt, builder, log)
        if not parser.parse(model):
            error = parser.get_error(0)
            where = f"node {error.node_name()} ({error.node_operator()}): " if error.node_name() else ""
            raise IcebreakerError(f"{where}{_words(error, self.title)}")
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 is fp32: TF32 keeps 10 bits of the mantissa
        self._aim(trt, config, device, options)
        seen = zip(*options.samples, strict=True) if options.samples else [()] * len(declared.input)
        _add_profile(
            builder, network, config, options.profiles,
            {item.name: values for item, values in zip(declared.input, seen, strict=True)},
        )  # fmt: skip
        timings = self._timings(trt, device)
        if timings:  # what was timed for one segment need not be timed for the next
            config.set_timing_cache(config.create_timing_cache(cache.read_blob("tensorrt", timings)), False)
        monitor = _monitor(trt, options.progress)
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor.raised is not None:
            raise monitor.raised
        if plan is None:
            words = log.errors[-1] if log.errors else "it gives no reason"
            raise IcebreakerError(f"{self.title} could not build the segment: {words}")
        if timings:
            cache.write_blob("tensorrt", timings, bytes(config.get_timing_cache().serialize()))
        options.progress("Built", 1.0)
        plan = bytes(plan)
        target, runs_here = self._target(trt, device, options)
        card = None if self._builds_without_gpu else device  # RTX compiles to the end where it runs
        header = {
            "engine": self.name,
            "version": trt.__version__,
            "version_compatible": options.version_compatible,
            "device": target,
            "gpu": card.name if card and options.hardware_compatibility == "none" else "",
            "driver": card.driver if card else "",
            "bytes": len(plan),
            "weights": options.weights,
            "inputs": [item.name for item in declared.input],
            "outputs": [[item.name, _dtype_name(onnx, item)] for item in declared.output],
        }
        payload = json.dumps(header).encode() + b"\n" + plan
        if options.weights == "weightless":
            payload += model
        layers = _inspect(trt, log, plan) if runs_here else _layers_in_log(log.layers)
        return Built(
            payload=payload,
            precision=options.precision,
            version=trt.__version__,
            device=target,
            runs_here=runs_here,
            note="" if runs_here else f"built here, runs on NVIDIA GPUs of {_capabilities(target)}",
            layers=layers,
        )

    def load(self, payload: Model, precision: str) -> Runner:
        """Loads a plan onto the GPU."""
        trt = self._import()
        header, plan, model = _parts(payload if isinstance(payload, bytes) else payload.read_bytes(), self.title)
        device = gpu.read()
        if why := self._unfit(trt, device) or self._misfit(trt, header, device) or self._invalid(trt, plan):
            raise IcebreakerError(why)
        return _Plan(trt, self.title, header, plan, model, self._new_context, self._captures)

    def _misfit(self, trt: Any, header: Mapping[str, Any], device: gpu.Gpu) -> str:
        """Why a plan with this header would not load or not run here, with what helps; nothing if it would."""
        target, version, here = header["device"], header["version"], trt.__version__
        later = header["version_compatible"] and _numbers(here) >= _numbers(version)
        if version != here and not (later or self._loads_other_versions):
            return f"the engine was built with {self.title} {version}, and this is {here}: convert again here"
        if not _covers(target, _number(device)):
            return (
                f"the engine was built for {_capabilities(target)}, and {device.name} has "
                f"{_capabilities(device.architecture)}: convert again here"
            )
        if header["gpu"] not in ("", device.name):
            return (
                f"the engine was built for {header['gpu']}, and this is {device.name}: convert again here, "
                f"or there with --hardware-compatibility same-compute-capability"
            )
        if header["driver"] and _numbers(device.driver)[:1] < _numbers(header["driver"])[:1]:
            return (
                f"the engine was built under driver {header['driver']}, and this is {device.driver}: "
                f"update the driver, or convert again here"
            )
        return ""

    # What differs between the two modules.

    _builds_without_gpu = False
    _loads_other_versions = False
    _captures = True  # CUDA graphs
    _unbuilt: Mapping[str, str] = {}  # ONNX ops that the parser takes, and the builder does not

    def _timings(self, trt: Any, device: gpu.Gpu | None) -> str:
        """The key of the timing cache for this version and GPU; none if there is nothing to time."""
        return self._key(trt, device)

    def _key(self, trt: Any, device: gpu.Gpu | None, content: bytes = b"") -> str:
        """The key of what holds for this version, GPU and driver only."""
        name = f"{self.name} {trt.__version__} {device.name if device else ''} {device.driver if device else ''} "
        return hashlib.sha256(name.encode() + content).hexdigest()

    def _new_context(self, trt: Any, engine: Any, plan: bytes, is_static: bool) -> tuple[Any, Callable[[], object]]:
        """What runs the engine, and what to do when it is no longer needed."""
        return engine.create_execution_context(), lambda: None

    def _gain(self, device: gpu.Gpu) -> str:
        """What installing it would add on this GPU."""
        return "engines in FP32, FP16 and INT8 whose kernels are timed on the card"

    def _targets(self, trt: Any) -> tuple[str, ...]:
        """Compute capabilities that may be chosen."""
        return ()

    def _aim(self, trt: Any, config: Any, device: gpu.Gpu | None, options: BuildOptions) -> None:
        """Sets what the plan shall run on, and what may become of it later."""
        level = {
            "none": trt.HardwareCompatibilityLevel.NONE,
            "same-compute-capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
            "ampere-plus": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
        }
        config.hardware_compatibility_level = level[options.hardware_compatibility]
        if options.optimization_level is not None:
            config.builder_optimization_level = options.optimization_level
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.weights != "fixed":
            stripped = options.weights == "weightless"
            config.set_flag(trt.BuilderFlag.STRIP_PLAN if stripped else trt.BuilderFlag.REFIT)

    def _target(self, trt: Any, device: gpu.Gpu | None, options: BuildOptions) -> tuple[str, bool]:
        """The GPUs that the plan is for, such as `sm_89` or `sm_80,sm_86+` (and later), and whether one is here."""
        assert device is not None  # noqa: S101 - `build` has checked
        wide = options.hardware_compatibility == "ampere-plus"
        return "sm_80+" if wide else device.architecture, True

    def _unfit(self, trt: Any, device: gpu.Gpu) -> str:
        """Why this GPU cannot run plans at all, or nothing."""
        return ""

    def _invalid(self, trt: Any, plan: bytes) -> str:
        """What the vendor says against a plan from its first bytes, or nothing."""
        return ""

    def _without_gpu(self, title: str, why: str, trt: Any) -> str:
        return f"{title} is installed but has no GPU to build for: {why}"

    def _import(self) -> Any:
        try:
            trt = importlib.import_module(self._module)
        except ModuleNotFoundError as error:
            raise IcebreakerError(f"{self.title} is not installed: {self._install}") from error
        except Exception as error:  # its libraries are loaded by its own code, which raises all kinds
            raise IcebreakerError(
                f"{self.title} cannot be loaded: {error}; install it again: {self._install}"
            ) from error
        if int(trt.__version__.split(".")[0]) < self._oldest:
            raise IcebreakerError(
                f"{self.title} {trt.__version__} is too old: {self._install.replace('install', 'install --upgrade')}"
            )
        return trt


class TensorRTRTX(TensorRT):
    """NVIDIA TensorRT for RTX: plans are portable between GPUs and compiled to the end on the one that runs them."""

    name = "tensorrt-rtx"
    title = "TensorRT-RTX"
    colour = Colour(light="#0b7f72", dark="#4fd6c1")
    _module = "tensorrt_rtx"
    _install = "pip install tensorrt-rtx-cu13 cuda-bindings"
    _oldest = 1
    _builds_without_gpu = True
    _loads_other_versions = True  # the runtime says itself what it does not take
    _captures = False  # it does so itself
    _unbuilt: Mapping[str, str] = {"NonMaxSuppression": "its builder has no runners for NonMaxSuppression"}
    builder_options: ClassVar[Mapping[str, str]] = dict.fromkeys(ENGINE_OPTIONS, "") | {
        "optimization_level": "its plans are the same at every level, since kernels are chosen where they run",
        "hardware_compatibility": "its plans run on all GPUs of the compute capabilities that they are built for",
        "version_compatible": "it comes without the lean runtime that such plans need",
        "weights": "without a GPU its builder fails at such plans, and where it has one they have not been tried",
    }

    def _timings(self, trt: Any, device: gpu.Gpu | None) -> str:
        return ""  # it times where it runs

    def _new_context(self, trt: Any, engine: Any, plan: bytes, is_static: bool) -> tuple[Any, Callable[[], object]]:
        # It compiles the plan to the end for this GPU: seconds, which the cache saves the next time.
        key = self._key(trt, gpu.find(), plan)
        usage = engine.create_runtime_config()
        compiled = usage.create_runtime_cache()
        if known := cache.read_blob("tensorrt-rtx", key):
            compiled.deserialize(known)  # it checks that they fit
        usage.set_runtime_cache(compiled)
        if is_static:
            usage.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        context = engine.create_execution_context(usage)
        return context, lambda: cache.write_blob("tensorrt-rtx", key, bytes(compiled.serialize()))

    def _gain(self, device: gpu.Gpu) -> str:
        if 90 <= _number(device) < 120:  # it knows none of the data-centre cards after the A100
            return "engines for RTX GPUs in other machines; it does not run on this one"
        return "engines in FP32, FP16 and INT8, which other RTX GPUs run, too"

    def _targets(self, trt: Any) -> tuple[str, ...]:
        return tuple(map(_dotted, _known(trt)))

    def _chosen(self, device: gpu.Gpu | None, options: BuildOptions) -> list[int]:
        """What the plan is aimed at; nothing for its default, 8.0 and later, among which Turing is not."""
        if options.compute_capabilities:
            return sorted({int(item.replace(".", "")) for item in options.compute_capabilities})
        return [75] if device is not None and device.compute_capability == (7, 5) else []

    def _aim(self, trt: Any, config: Any, device: gpu.Gpu | None, options: BuildOptions) -> None:
        chosen = self._chosen(device, options)
        known = trt.ComputeCapability.__members__
        config.num_compute_capabilities = len(chosen)
        for index, number in enumerate(chosen):
            if f"SM{number}" not in known:
                raise IcebreakerError(f"{self.title} does not build for compute capability {_dotted(number)}")
            config.set_compute_capability(known[f"SM{number}"], index)

    def _target(self, trt: Any, device: gpu.Gpu | None, options: BuildOptions) -> tuple[str, bool]:
        chosen = self._chosen(device, options)
        target = ",".join(f"sm_{number}" for number in chosen or _known(trt) if chosen or number >= 80)
        target += "" if chosen else "+"
        fits = device is not None and not self._unfit(trt, device) and _covers(target, _number(device))
        return target, fits

    def _invalid(self, trt: Any, plan: bytes) -> str:
        lines: list[str] = []
        runtime = trt.Runtime(_logger(trt, lambda level, text: lines.append(text)))
        validity, flags = runtime.get_engine_validity(plan[: runtime.engine_header_size])
        if validity != trt.EngineValidity.INVALID:
            return ""
        found = [name for name, item in trt.EngineInvalidityDiagnostics.__members__.items() if int(item) & int(flags)]
        why = ", ".join(name.lower().replace("_", " ") for name in found) or "it gives no reason"
        return f"{self.title} says that the engine does not fit: {why}; {lines[-1] if lines else 'convert again here'}"

    def _unfit(self, trt: Any, device: gpu.Gpu) -> str:
        known = _known(trt)
        if _number(device) in known or _number(device) > max(known):
            return ""
        return (
            f"{device.name} has compute capability {_dotted(_number(device))}, which TensorRT-RTX does not support "
            f"({', '.join(_dotted(number) for number in known)} and later)"
        )

    def _without_gpu(self, title: str, why: str, trt: Any) -> str:
        known = ", ".join(_dotted(number) for number in _known(trt) if number >= 80)
        return f"{title} builds here for GPUs of compute capability {known} and later, but cannot run: {why}"


def _known(trt: Any) -> list[int]:
    """Compute capabilities that this RTX knows by name, such as 89, in order."""
    names = (re.fullmatch(r"SM(\d+)", name) for name in trt.ComputeCapability.__members__)
    return sorted(int(match[1]) for match in names if match)


def _number(device: gpu.Gpu) -> int:
    return device.compute_capability[0] * 10 + device.compute_capability[1]


def _dotted(number: int) -> str:
    return f"{number // 10}.{number % 10}"


def _capabilities(target: str) -> str:
    """A target such as `sm_80,sm_86+` in words."""
    numbers = [int(name.strip("sm_+")) for name in target.split(",")]
    return f"compute capability {', '.join(map(_dotted, numbers))}{' and later' if target.endswith('+') else ''}"


def _covers(target: str, number: int) -> bool:
    """Whether a target has a compute capability, such as 86 or, in `sm_80,sm_86+`, 120."""
    numbers = [int(name.strip("sm_+")) for name in target.split(",")]
    return number in numbers or (target.endswith("+") and number > numbers[-1])


def _numbers(version: str) -> list[int]:
    """The numbers of a version, to compare it by."""
    return [int(part) for part in re.findall(r"\d+", version)]


_HEADER: Mapping[str, type] = {
    "version": str, "version_compatible": bool, "device": str, "gpu": str, "driver": str, "bytes": int, "weights": str,
    "inputs": list, "outputs": list,
}  # fmt: skip


def _parts(payload: bytes, title: str) -> tuple[Mapping[str, Any], bytes, bytes]:
    """A payload's header, plan and ONNX model, which only a weightless plan has."""
    line, _, rest = payload.partition(b"\n")
    try:
        header = json.loads(line)
        if any(type(header[key]) is not kind for key, kind in _HEADER.items()):
            raise TypeError("a value is of another type")
        if not re.fullmatch(r"sm_\d+(,sm_\d+)*\+?", header["device"]) or not 0 < header["bytes"] <= len(rest):
            raise ValueError("the target or the length is wrong")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IcebreakerError(f"the stored {title} engine is damaged: convert the graph again") from error
    return header, rest[: header["bytes"]], rest[header["bytes"] :]


# Building


def _logger(trt: Any, forward: Callable[[str, str], None] = lambda level, text: None) -> Any:
    """A logger that forwards lines up to INFO, warnings once, and keeps the errors and the builder's layer report.

    An exception must not leave a callback: TensorRT would end the process.
    """

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.layers = ""
            self.warned: set[str] = set()

        def log(self, severity: Any, text: str) -> None:
            try:
                level = _LEVELS.get(severity.name, "debug")
                if level == "error":
                    self.errors.append(text)
                elif text.startswith("Layers:"):
                    self.layers = text
                if level != "debug" and text not in self.warned:
                    forward(level, text)
                if level == "warning":  # RTX says of every single layer that it converts the scales
                    self.warned.add(text)
            except Exception:  # noqa: S110 - see above; a line less in the log
                pass

    return Logger()


def _monitor(trt: Any, progress: Progress) -> Any:
    """A progress monitor that turns TensorRT's nested phases into one rising fraction."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.raised: BaseException | None = None
            self._phases: dict[str, list[Any]] = {}  # name → [parent, steps, steps done]
            self._fraction = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = [parent_phase, max(num_steps, 1), 0]

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self.raised is not None:
                return False
            try:
                self._phases[phase_name][2] = step + 1
                fraction, name = 0.0, phase_name
                while name in self._phases:
                    parent, steps, done = self._phases[name]
                    fraction, name = min(1.0, (done + fraction) / steps), parent
                self._fraction = max(self._fraction, fraction)
                progress(phase_name, self._fraction)
            except BaseException as error:  # it must not pass through native code: `build` raises it
                self.raised = error
            return self.raised is None

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

    return Monitor()


def _parser(trt: Any, builder: Any, log: Any) -> tuple[Any, Any]:
    """An empty strongly typed network and its parser; errors go to the logger, since an IErrorRecorder crashes it."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return network, trt.OnnxParser(network, log)


def _words(error: Any, title: str) -> str:
    """What a parser error says, less its source text."""
    text = re.sub(r"^Assertion failed: .*?: (?=\S)", "", error.desc())
    if text in ("", "false"):
        text = f"{error.node_operator() or 'this op'} is not supported"
    return f"{title}: {text}"


def _names_in(node: Any) -> Iterator[str]:
    """The node's own name, and those of the nodes inside it: the parser may name an inner one."""
    yield node.name
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _names_in(inner)


def _tensor_types(onnx: Any, model: Any) -> dict[str, Any]:
    """Tensor name → its ValueInfoProto, where shape inference finds type and rank."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    items = [*graph.value_info, *graph.input, *graph.output]
    return {item.name: item for item in items if item.type.tensor_type.HasField("shape")}


def _dtype_name(onnx: Any, item: Any) -> str:
    return onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type).name


def _add_profile(
    builder: Any,
    network: Any,
    config: Any,
    profiles: Mapping[str, Any],
    seen: Mapping[str, Sequence[np.ndarray]],
) -> None:
    """Says which shapes, and of inputs that tell a shape which values (those that were `seen`), the plan must take."""
    dynamic = False
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 in tuple(tensor.shape):
            if tensor.name not in profiles:
                raise IcebreakerError(f"input {tensor.name} has open dimensions: give its smallest and largest shape")
            dynamic = True
        if tensor.name in profiles:
            profile.set_shape(tensor.name, *profiles[tensor.name])
        if tensor.is_shape_tensor and seen.get(tensor.name):
            values = np.stack([np.ravel(value) for value in seen[tensor.name]])
            bounds = (values.min(axis=0), values[0], values.max(axis=0))
            profile.set_shape_input(tensor.name, *(bound.tolist() for bound in bounds))
            dynamic = True
    if dynamic and config.add_optimization_profile(profile) < 0:
        ranges = "; ".join(f"{name} {' to '.join(map(str, shapes))}" for name, shapes in profiles.items())
        raise IcebreakerError(f"the shapes (smallest, usual, largest) do not go together: {ranges}")


# The layer report

_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), Inputs: (?P<rest>.*)$", re.MULTILINE)
_TYPES = {
    "Float": "fp32", "FP32": "fp32", "Half": "fp16", "FP16": "fp16", "BFloat16": "bf16", "BF16": "bf16",
    "Int8": "int8", "FP8": "fp8", "Int32": "int32", "Int64": "int64", "Bool": "bool",
}  # fmt: skip


def _layers_in_log(text: str) -> tuple[Mapping[str, Any], ...]:
    """The VERBOSE message "Layers:", the only report there is without a GPU.

    A layer's precision is its first input's type: for a quantized convolution the type that it multiplies in.
    """
    return tuple(
        _layer(match["name"], match["type"], re.findall(r"Datatype: (\w+)", match["rest"]), match["rest"])
        for match in _LAYER.finditer(text.partition("\nI/O Tensors:")[0])
    )


def _inspect(trt: Any, log: Any, plan: Any) -> tuple[Mapping[str, Any], ...]:
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


def _layer(name: str, kind: str, types: Sequence[str], metadata: str, tactic: str = "") -> Mapping[str, Any]:
    first = types[0] if types else ""
    # The inspector writes "Half" or, in older versions, words such as "Row major linear FP16 format".
    precision = next((ours for theirs, ours in _TYPES.items() if theirs in first.split()), first.lower())
    nodes = re.findall(r"\[ONNX Layer: ([^\]]*)\]", metadata)
    return {"name": name, "type": kind, "precision": precision, "tactic": tactic, "nodes": nodes}


# Running


class _Plan:
    """A plan on the GPU. One call at a time: it has one stream."""

    def __init__(
        self,
        trt: Any,
        title: str,
        header: Mapping[str, Any],
        plan: bytes,
        model: bytes,
        new_context: Callable[..., Any],
        captures: bool,
    ) -> None:
        self._trt, self._title = trt, title
        self._inputs, self._outputs = header["inputs"], header["outputs"]
        self._stream = cuda.Stream()
        self._log = _logger(trt)
        self._runtime = trt.Runtime(self._log)
        # Such a plan brings its own runtime along, which is code for the processor: it is trusted by now, as all plans.
        self._runtime.engine_host_code_allowed = header["version_compatible"]
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context: Any = None
        if self._engine is not None:
            if header["weights"] == "weightless":
                self._fill(model)
            is_static = not any(-1 in tuple(self._engine.get_tensor_shape(name)) for name in self._inputs)
            self._has_host_inputs = any(map(self._is_on_host, self._inputs))
            self._captures = captures and is_static and not self._has_host_inputs
            self._context, at_end = new_context(trt, self._engine, plan, is_static)
            weakref.finalize(self, at_end)
        if self._context is None:
            raise IcebreakerError(f"{title} cannot load the engine: {self._last_words()}")
        self._ran: tuple[int, ...] = ()  # the addresses of the last run
        self._graph: _Graph | None = None  # of a run with these addresses
        self._lock = threading.Lock()

    def _fill(self, model: bytes) -> None:
        """Puts the ONNX model's weights into a weightless plan."""
        refitter = self._trt.Refitter(self._engine, self._log)
        filled = self._trt.OnnxParserRefitter(refitter, self._log).refit_from_bytes(model)
        if not filled or not refitter.refit_cuda_engine():
            raise IcebreakerError(f"{self._title} cannot put the weights into the engine: {self._last_words()}")

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs on arrays in the host's memory."""
        with self._lock:
            addresses = []
            arrays = []  # must outlive the copies
            for name, value in zip(self._inputs, inputs, strict=True):
                array = np.ascontiguousarray(value, dtype=self._dtype(name))
                if self._is_on_host(name):
                    addresses.append(array.ctypes.data)
                else:
                    addresses.append(self._stream.buffer(name, array.nbytes))
                    self._stream.upload(addresses[-1], array)
                arrays.append(array)
            shapes = self._prepare([array.shape for array in arrays], addresses)
            results = [
                np.empty(shape, self._dtype(name)) for (name, _), shape in zip(self._outputs, shapes, strict=True)
            ]
            targets = [
                self._stream.buffer(name, array.nbytes) for (name, _), array in zip(self._outputs, results, strict=True)
            ]
            self._execute(addresses, targets)
            for array, address in zip(results, targets, strict=True):
                self._stream.download(array, address)
            self._stream.wait()
        declared = (dtype for _, dtype in self._outputs)
        return [array.astype(dtype, copy=False) for array, dtype in zip(results, declared, strict=True)]

    def on_device(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs on tensors in the GPU's memory; see `engines.DeviceRunner`."""
        from onnxruntime import OrtValue

        if self._has_host_inputs:
            raise IcebreakerError(f"{self._title} wants an input that tells a shape in the host's memory")
        with self._lock:
            values = cuda.tensors(inputs)
            addresses = [value.data_ptr() for value in values]
            if self._captures:  # a CUDA graph always reads and writes the same memory
                addresses = [
                    self._stream.buffer(name, value.tensor_size_in_bytes())
                    for name, value in zip(self._inputs, values, strict=True)
                ]
                for address, value in zip(addresses, values, strict=True):
                    self._stream.move(address, value.data_ptr(), value.tensor_size_in_bytes())
            shapes = self._prepare([tuple(value.shape()) for value in values], addresses)
            results = [
                OrtValue.ortvalue_from_shape_and_type(shape, self._dtype(name), "cuda", 0)
                for (name, _), shape in zip(self._outputs, shapes, strict=True)
            ]
            targets = [value.data_ptr() for value in results]
            if self._captures:
                targets = [
                    self._stream.buffer(name, value.tensor_size_in_bytes())
                    for (name, _), value in zip(self._outputs, results, strict=True)
                ]
            self._execute(addresses, targets)
            for value, address in zip(results, targets, strict=True):
                if address != value.data_ptr():
                    self._stream.move(value.data_ptr(), address, value.tensor_size_in_bytes())
        return results

    def wait(self) -> None:
        """Waits for the GPU; see `engines.DeviceRunner`."""
        self._stream.wait()

    def _prepare(self, shapes: Sequence[tuple[int, ...]], addresses: Sequence[int]) -> list[tuple[int, ...]]:
        """Tells the context its inputs; returns the outputs' shapes."""
        context = self._context
        for name, shape, address in zip(self._inputs, shapes, addresses, strict=True):
            if not context.set_input_shape(name, shape):
                raise IcebreakerError(
                    f"input {name} has shape {list(shape)}, outside the engine's profile: "
                    f"convert with a larger batch, or with this shape"
                )
            context.set_tensor_address(name, address)
        if missing := context.infer_shapes():
            raise IcebreakerError(f"{self._title} does not know the shape of {', '.join(missing)}")
        found = [tuple(context.get_tensor_shape(name)) for name, _ in self._outputs]
        for (name, _), shape in zip(self._outputs, found, strict=True):
            if -1 in shape:
                raise IcebreakerError(f"the shape of output {name} depends on values: exclude the node that makes it")
        return found

    def _execute(self, addresses: Sequence[int], targets: Sequence[int]) -> None:
        """Runs once; with static shapes, what runs a second time on the same memory is kept as a CUDA graph."""
        memory = (*addresses, *targets)
        for (name, _), address in zip(self._outputs, targets, strict=True):
            self._context.set_tensor_address(name, address)
        if self._captures and memory == self._ran:
            try:
                self._graph = self._graph or _Graph(self._stream.handle, self._enqueue)
                self._graph.launch()
                return
            except IcebreakerError:  # it runs without one, only slower
                self._captures, self._graph = False, None
        self._ran, self._graph = memory, None
        self._enqueue()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise IcebreakerError(f"{self._title} failed: {self._last_words()}")

    def _is_on_host(self, name: str) -> bool:
        return self._engine.get_tensor_location(name) == self._trt.TensorLocation.HOST

    def _dtype(self, name: str) -> Any:
        return self._trt.nptype(self._engine.get_tensor_dtype(name))

    def _last_words(self) -> str:
        return self._log.errors[-1] if self._log.errors else "it gives no reason"


class _Graph:
    """A CUDA graph: what `work` gives to a stream, to be given again in one call."""

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        """Records `work`, which does not run by that.

        Raises:
            IcebreakerError: It cannot be recorded.
        """
        self._cuda, self._stream = cuda.runtime(), stream
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._check(self._cuda.cudaStreamBeginCapture(stream, mode))
        try:
            work()
        except BaseException:
            self._cuda.cudaStreamEndCapture(stream)
            raise
        recorded = self._check(self._cuda.cudaStreamEndCapture(stream))
        try:
            self._ready = self._check(self._cuda.cudaGraphInstantiate(recorded, 0))
        finally:
            self._cuda.cudaGraphDestroy(recorded)
        weakref.finalize(self, self._cuda.cudaGraphExecDestroy, self._ready)

    def launch(self) -> None:
        """Gives the work to the stream."""
        self._check(self._cuda.cudaGraphLaunch(self._ready, self._stream))

    def _check(self, answer: tuple[Any, ...]) -> Any:
        error, *results = answer
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise IcebreakerError(f"the GPU cannot record the work: {self._cuda.cudaGetErrorString(error)[1].decode()}")
        return results[0] if results else None
