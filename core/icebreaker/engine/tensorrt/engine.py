"""TensorRT 10 and 11; what RTX has in common with it is here too, one code over two vendor modules.

Networks are strongly typed, the only kind that TensorRT 11 and RTX have: FP16 is made by converting the model's types
(`fp16`), INT8 by the Q/DQ nodes that the model carries. RTX builds on machines without a GPU; TensorRT does not.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from icebreaker import gpu
from icebreaker.engine import cuda
from icebreaker.engine.onnx_nodes import reads
from icebreaker.engine.protocol import BuildOptions, Built, Colour, Engine, Runner
from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.engine.tensorrt.builder import (
    add_profile,
    dtype_name,
    make_logger,
    make_monitor,
    make_parser,
    names_in,
    parser_words,
    tensor_types,
)
from icebreaker.engine.tensorrt.layer_report import inspected_layers, layers_in_log
from icebreaker.engine.tensorrt.payload import parts
from icebreaker.engine.tensorrt.runner import PlanRunner
from icebreaker.engine.tensorrt.targets import capability_of, covers, in_words, version_numbers
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message, message
from icebreaker.reports import EngineStatus, Words
from icebreaker.settings import ENGINE_OPTIONS
from icebreaker.storage import cache

_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
_ROUNDS = 10  # how often the parser is asked about one model, less the nodes it has refused


_log = logging.getLogger(__name__)


class TensorRT(Engine):
    """NVIDIA TensorRT 10 or 11, for data-centre and workstation GPUs."""

    name = "tensorrt"
    title = "TensorRT"
    colour = Colour(light="#3d7f14", dark="#8fd46a")
    precisions = ("fp32", "fp16", "int8")
    builder_options: ClassVar[Mapping[str, Words]] = dict[str, Words].fromkeys(ENGINE_OPTIONS, "") | {
        "compute_capabilities": message(
            "builds_for_gpu_here", "it builds for the GPU that is here; hardware compatibility makes that more"
        ),
    }
    _module = "tensorrt"
    _install = "pip install tensorrt cuda-bindings"
    _oldest = 10

    def status(self) -> EngineStatus:
        """Whether it builds and runs on this machine, and if not, why."""
        try:
            trt = self._import()
        except IcebreakerError as missing:
            here = gpu.find()
            detail: Message = missing.message
            if here:
                detail = message(
                    "engine_would_add", "{why}; for this {subject} it would add {gain}",
                    subject=here.name, why=missing.message, gain=self._gain(here),
                )  # fmt: skip
            return EngineStatus(self.name, builds=False, runs=False, detail=detail)
        title = f"{self.title} {trt.__version__}"
        runs = False
        try:
            device = gpu.read()
            why = self._unfit(trt, device)
        except IcebreakerError as none:
            device, why = None, none.message
        if why or device is None:
            detail = self._without_gpu(title, why, trt)
        else:
            try:
                cuda.runtime()
                runs = True
                detail = message(
                    "engine_on_gpu", "{subject} on {device} ({architecture})",
                    subject=title, device=device.name, architecture=device.architecture,
                )  # fmt: skip
            except IcebreakerError as broken:
                detail = message(
                    "engine_builds_only", "{subject} builds but cannot run: {why}", subject=title, why=broken.message
                )
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
        log = make_logger(trt)
        model = segment.onnx_bytes()
        remaining = onnx.load_from_string(model)
        types: dict[str, Any] = {}
        refused = {
            node.name: f"{self.title}: {self._unbuilt[node.op_type]}"
            for node in remaining.graph.node
            if node.op_type in self._unbuilt
        }
        for _ in range(_ROUNDS):
            network, parser = make_parser(trt, trt.Builder(log), log)
            if parser.supports_model_v2(model):
                break
            nodes = remaining.graph.node
            taken = {index for part in range(parser.num_subgraphs) for index in parser.get_subgraph_nodes(part)}
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            owners = {name: index for index, node in enumerate(nodes) for name in names_in(node)}
            words = {owners.get(error.node_name(), -1): parser_words(error, self.title) for error in errors}
            general = next(iter(words.values()), f"{self.title} does not take it")
            found = sorted(({*range(len(nodes))} - taken) | (words.keys() - {-1}))
            del parser, network
            refused |= {nodes[index].name: words.get(index, general) for index in found or range(len(nodes))}
            if not found or len(found) == len(nodes):
                break
            types = types or tensor_types(onnx, remaining)
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

    def _tell(self, level: str, text: str) -> None:
        """Logs a line of the builder's log."""
        _log.log(logging.getLevelNamesMapping()[level.upper()], "%s: %s", self.name, text)

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        """Builds a plan; on a machine without a GPU one for other machines, where the engine can."""
        import onnx

        trt = self._import()
        device = gpu.find()
        self._check(options, device)
        model = segment.onnx_bytes()
        try:
            declared = onnx.load_from_string(model).graph
        except Exception as error:  # protobuf's own kind
            raise IcebreakerError("onnx_unreadable", "the ONNX model cannot be read: {why}", why=str(error)) from error
        if options.precision != "fp32":
            from icebreaker.engine.numbers.fp16 import to_half

            model = to_half(model, options.samples)
        log = make_logger(trt, self._tell)
        plan = self._serialized(trt, log, model, declared, device, options)
        options.progress(message("stage_built", "Built"), 1.0)
        target, runs_here = self._target(trt, device, options)
        header = self._header(trt.__version__, target, device, options) | {
            "bytes": len(plan),
            "weights": options.weights,
            "inputs": [item.name for item in declared.input],
            "outputs": [[item.name, dtype_name(onnx, item)] for item in declared.output],
        }
        payload = json.dumps(header).encode() + b"\n" + plan
        if options.weights == "weightless":
            payload += model
        layers = inspected_layers(trt, log, plan) if runs_here else layers_in_log(log.layers)
        return Built(
            payload=payload,
            precision=options.precision,
            version=trt.__version__,
            device=target,
            runs_here=runs_here,
            note=""
            if runs_here
            else message("built_for_elsewhere", "built here, runs on NVIDIA GPUs of {target}", target=in_words(target)),
            layers=layers,
        )

    def _check(self, options: BuildOptions, device: gpu.Gpu | None) -> None:
        """Raises IcebreakerError if an option is not to be had, or there is no GPU and it needs one."""
        for name, why in self.builder_options.items():
            if why and getattr(options, name) != getattr(BuildOptions(), name):
                raise IcebreakerError(
                    "builder_option_missing", "{option} is not to be had with {engine}: {why}", subject=name,
                    option=ENGINE_OPTIONS[name], engine=self.name, why=why,
                )  # fmt: skip
        if device is None and not self._builds_without_gpu:
            raise IcebreakerError(
                "builder_needs_gpu", "{subject} builds on machines with an NVIDIA GPU only", "use_rtx",
                subject=self.title,
            )  # fmt: skip

    def _serialized(
        self, trt: Any, log: Any, model: bytes, declared: Any, device: gpu.Gpu | None, options: BuildOptions
    ) -> bytes:
        """The plan that the builder makes of an ONNX model; `declared` is its graph with the original types."""
        builder = trt.Builder(log)
        network, parser = make_parser(trt, builder, log)
        if not parser.parse(model):
            error = parser.get_error(0)
            where = f"node {error.node_name()} ({error.node_operator()}): " if error.node_name() else ""
            raise IcebreakerError(
                "parser_refuses", "{where}{words}", subject=error.node_name(), where=where,
                words=parser_words(error, self.title),
            )  # fmt: skip
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 is fp32: TF32 keeps 10 bits of the mantissa
        self._aim(trt, config, device, options)
        seen = zip(*options.samples, strict=True) if options.samples else [()] * len(declared.input)
        add_profile(
            builder, network, config, options.profiles,
            {item.name: values for item, values in zip(declared.input, seen, strict=True)},
        )  # fmt: skip
        timings = self._timings(trt, device)
        if timings:  # what was timed for one segment need not be timed for the next
            config.set_timing_cache(config.create_timing_cache(cache.read_blob("tensorrt", timings)), False)
        monitor = make_monitor(trt, options.progress)
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor.raised is not None:
            raise monitor.raised
        if plan is None:
            words = log.errors[-1] if log.errors else "it gives no reason"
            raise IcebreakerError(
                "build_failed", "{subject} could not build the segment: {words}", subject=self.title, words=words
            )
        if timings:
            cache.write_blob("tensorrt", timings, bytes(config.get_timing_cache().serialize()))
        return bytes(plan)

    def _header(self, version: str, target: str, device: gpu.Gpu | None, options: BuildOptions) -> dict[str, Any]:
        """What tells where a plan may run; see `payload`."""
        card = None if self._builds_without_gpu else device  # RTX compiles to the end where it runs
        return {
            "engine": self.name,
            "version": version,
            "version_compatible": options.version_compatible,
            "device": target,
            "gpu": card.name if card and options.hardware_compatibility == "none" else "",
            "driver": card.driver if card else "",
        }

    def poisons_process(self, error: Exception) -> bool:
        """Asks the GPU."""
        return cuda.is_lost()

    def load(self, payload: Model, precision: str) -> Runner:
        """Loads a plan onto the GPU."""
        trt = self._import()
        header, plan, model = parts(payload if isinstance(payload, bytes) else payload.read_bytes(), self.title)
        device = gpu.read()
        if why := self._unfit(trt, device) or self._misfit(trt, header, device) or self._invalid(trt, plan):
            raise IcebreakerError(why)
        return PlanRunner(trt, self.title, header, plan, model, self._new_context, self._captures)

    def _misfit(self, trt: Any, header: Mapping[str, Any], device: gpu.Gpu) -> Message | None:
        """Why a plan with this header would not load or not run here, with what helps; nothing if it would."""
        target, version, here = header["device"], header["version"], trt.__version__
        later = header["version_compatible"] and version_numbers(here) >= version_numbers(version)
        if version != here and not (later or self._loads_other_versions):
            return message(
                "built_by_other_version", "the engine was built with {subject} {version}, and this is {here}",
                "convert_again_here", subject=self.title, version=version, here=here,
            )  # fmt: skip
        if not covers(target, capability_of(device)):
            return message(
                "built_for_other_capability", "the engine was built for {target}, and {gpu} has {here}",
                "convert_again_here", target=in_words(target), gpu=device.name, here=in_words(device.architecture),
            )  # fmt: skip
        if header["gpu"] not in ("", device.name):
            return message(
                "built_for_other_gpu", "the engine was built for {target}, and this is {gpu}",
                "convert_here_or_compatible", target=header["gpu"], gpu=device.name,
            )  # fmt: skip
        if header["driver"] and version_numbers(device.driver)[:1] < version_numbers(header["driver"])[:1]:
            return message(
                "built_under_newer_driver", "the engine was built under driver {driver}, and this is {here}",
                "update_driver", driver=header["driver"], here=device.driver,
            )  # fmt: skip
        return None

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

    def _gain(self, device: gpu.Gpu) -> Message:
        """What installing it would add on this GPU."""
        return message("gain_tensorrt", "engines in FP32, FP16 and INT8 whose kernels are timed on the card")

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

    def _unfit(self, trt: Any, device: gpu.Gpu) -> Message | None:
        """Why this GPU cannot run plans at all."""
        return None

    def _invalid(self, trt: Any, plan: bytes) -> Message | None:
        """What the vendor says against a plan from its first bytes."""
        return None

    def _without_gpu(self, title: str, why: Message | None, trt: Any) -> Message:
        """What to tell of a machine that has no GPU that fits."""
        return message(
            "engine_lacks_gpu",
            "{subject} is installed but has no GPU to build for: {why}",
            subject=title,
            why=why or "",
        )

    def _import(self) -> Any:
        """The vendor's module; raises IcebreakerError if it is missing, broken or too old."""
        try:
            trt = importlib.import_module(self._module)
        except ModuleNotFoundError as error:
            raise IcebreakerError(
                "engine_not_installed", "{subject} is not installed", "install_with",
                subject=self.title, command=self._install,
            ) from error  # fmt: skip
        except Exception as error:  # its libraries are loaded by its own code, which raises all kinds
            raise IcebreakerError(
                "engine_library_broken", "{subject} cannot be loaded: {why}; install it again", "install_with",
                subject=self.title, why=str(error), command=self._install,
            ) from error  # fmt: skip
        if int(trt.__version__.split(".")[0]) < self._oldest:
            raise IcebreakerError(
                "engine_too_old", "{subject} {version} is too old", "install_with", subject=self.title,
                version=trt.__version__, command=self._install.replace("install", "install --upgrade"),
            )  # fmt: skip
        return trt
