"""TensorRT's builder, its parser of ONNX, and what they call while they work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker.engine.protocol import Progress
from icebreaker.errors import IcebreakerError

_LEVELS = {"INTERNAL_ERROR": "error", "ERROR": "error", "WARNING": "warning", "INFO": "info", "VERBOSE": "debug"}


def make_logger(trt: Any, forward: Callable[[str, str], None] = lambda level, text: None) -> Any:
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


def make_monitor(trt: Any, progress: Progress) -> Any:
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


def make_parser(trt: Any, builder: Any, log: Any) -> tuple[Any, Any]:
    """An empty strongly typed network and its parser; errors go to the logger, since an IErrorRecorder crashes it."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return network, trt.OnnxParser(network, log)


def parser_words(error: Any, title: str) -> str:
    """What a parser error says, less its source text."""
    text = re.sub(r"^Assertion failed: .*?: (?=\S)", "", error.desc())
    if text in ("", "false"):
        text = f"{error.node_operator() or 'this op'} is not supported"
    return f"{title}: {text}"


def names_in(node: Any) -> Iterator[str]:
    """The node's own name, and those of the nodes inside it: the parser may name an inner one."""
    yield node.name
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from names_in(inner)


def tensor_types(onnx: Any, model: Any) -> dict[str, Any]:
    """Tensor name → its ValueInfoProto, where shape inference finds type and rank."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    items = [*graph.value_info, *graph.input, *graph.output]
    return {item.name: item for item in items if item.type.tensor_type.HasField("shape")}


def dtype_name(onnx: Any, item: Any) -> str:
    """NumPy's name of the type in an ONNX ValueInfoProto."""
    return onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type).name


def add_profile(
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
                raise IcebreakerError(
                    "input_open", "input {subject} has open dimensions", "give_smallest_largest", subject=tensor.name
                )
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
        raise IcebreakerError(
            "profiles_clash", "the shapes (smallest, usual, largest) do not go together: {ranges}", ranges=ranges
        )
