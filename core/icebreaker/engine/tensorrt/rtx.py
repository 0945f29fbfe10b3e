"""TensorRT for RTX: plans are portable between GPUs and compiled to the end on the one that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from icebreaker import gpu
from icebreaker.engine.protocol import BuildOptions, Colour
from icebreaker.engine.tensorrt.builder import make_logger
from icebreaker.engine.tensorrt.engine import TensorRT
from icebreaker.engine.tensorrt.targets import capability_of, covers, dotted, known_capabilities
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message, message
from icebreaker.reports import Words
from icebreaker.settings import ENGINE_OPTIONS
from icebreaker.storage import cache


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
    builder_options: ClassVar[Mapping[str, Words]] = dict[str, Words].fromkeys(ENGINE_OPTIONS, "") | {
        "optimization_level": message(
            "rtx_level", "its plans are the same at every level, since kernels are chosen where they run"
        ),
        "hardware_compatibility": message(
            "rtx_compatibility", "its plans run on all GPUs of the compute capabilities that they are built for"
        ),
        "version_compatible": message("rtx_lean", "it comes without the lean runtime that such plans need"),
        "weights": message(
            "rtx_weights",
            "without a GPU its builder fails at such plans, and where it has one they have not been tried",
        ),
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

    def _gain(self, device: gpu.Gpu) -> Message:
        if 90 <= capability_of(device) < 120:  # it knows none of the data-centre cards after the A100
            return message("gain_rtx_elsewhere", "engines for RTX GPUs in other machines; it does not run on this one")
        return message("gain_rtx", "engines in FP32, FP16 and INT8, which other RTX GPUs run, too")

    def _targets(self, trt: Any) -> tuple[str, ...]:
        return tuple(map(dotted, known_capabilities(trt)))

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
                raise IcebreakerError(
                    "capability_unknown", "{subject} does not build for compute capability {capability}",
                    subject=self.title, capability=dotted(number),
                )  # fmt: skip
            config.set_compute_capability(known[f"SM{number}"], index)

    def _target(self, trt: Any, device: gpu.Gpu | None, options: BuildOptions) -> tuple[str, bool]:
        chosen = self._chosen(device, options)
        target = ",".join(f"sm_{number}" for number in chosen or known_capabilities(trt) if chosen or number >= 80)
        target += "" if chosen else "+"
        fits = device is not None and not self._unfit(trt, device) and covers(target, capability_of(device))
        return target, fits

    def _invalid(self, trt: Any, plan: bytes) -> Message | None:
        lines: list[str] = []
        runtime = trt.Runtime(make_logger(trt, lambda level, text: lines.append(text)))
        validity, flags = runtime.get_engine_validity(plan[: runtime.engine_header_size])
        if validity != trt.EngineValidity.INVALID:
            return None
        found = [name for name, item in trt.EngineInvalidityDiagnostics.__members__.items() if int(item) & int(flags)]
        why = ", ".join(name.lower().replace("_", " ") for name in found) or "it gives no reason"
        return message(
            "plan_invalid", "{subject} says that the engine does not fit: {why}; {advice}",
            subject=self.title, why=why, advice=lines[-1] if lines else "convert again here",
        )  # fmt: skip

    def _unfit(self, trt: Any, device: gpu.Gpu) -> Message | None:
        known = known_capabilities(trt)
        if capability_of(device) in known or capability_of(device) > max(known):
            return None
        return message(
            "gpu_unsupported",
            "{subject} has compute capability {capability}, which TensorRT-RTX does not support ({known} and later)",
            subject=device.name, capability=dotted(capability_of(device)), known=tuple(map(dotted, known)),
        )  # fmt: skip

    def _without_gpu(self, title: str, why: Message | None, trt: Any) -> Message:
        known = tuple(dotted(number) for number in known_capabilities(trt) if number >= 80)
        return message(
            "engine_builds_for",
            "{subject} builds here for GPUs of compute capability {known} and later, but cannot run: {why}",
            subject=title, known=known, why=why or "",
        )  # fmt: skip
