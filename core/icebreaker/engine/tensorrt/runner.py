"""Runs a plan on the GPU."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker.engine import cuda
from icebreaker.engine.tensorrt.builder import make_logger
from icebreaker.errors import IcebreakerError


class PlanRunner:
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
        self._log = make_logger(trt)
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
            raise IcebreakerError(
                "plan_not_loaded", "{subject} cannot load the engine: {words}", subject=title, words=self._last_words()
            )
        self._ran: tuple[int, ...] = ()  # the addresses of the last run
        self._graph: CudaGraph | None = None  # of a run with these addresses
        self._lock = threading.Lock()

    def _fill(self, model: bytes) -> None:
        """Puts the ONNX model's weights into a weightless plan."""
        refitter = self._trt.Refitter(self._engine, self._log)
        filled = self._trt.OnnxParserRefitter(refitter, self._log).refit_from_bytes(model)
        if not filled or not refitter.refit_cuda_engine():
            raise IcebreakerError(
                "refit_failed", "{subject} cannot put the weights into the engine: {words}",
                subject=self._title, words=self._last_words(),
            )  # fmt: skip

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
            raise IcebreakerError(
                "host_input", "{subject} wants an input that tells a shape in the host's memory", subject=self._title
            )
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
                    "outside_profile", "input {subject} has shape {shape}, outside the engine's profile",
                    "larger_batch_or_shape", subject=name, shape=str(list(shape)),
                )  # fmt: skip
            context.set_tensor_address(name, address)
        if missing := context.infer_shapes():
            raise IcebreakerError(
                "shape_not_known", "{subject} does not know the shape of {tensors}",
                subject=self._title, tensors=tuple(missing),
            )  # fmt: skip
        found = [tuple(context.get_tensor_shape(name)) for name, _ in self._outputs]
        for (name, _), shape in zip(self._outputs, found, strict=True):
            if -1 in shape:
                raise IcebreakerError(
                    "output_shape_varies", "the shape of output {subject} depends on values", "exclude_its_node",
                    subject=name,
                )  # fmt: skip
        return found

    def _execute(self, addresses: Sequence[int], targets: Sequence[int]) -> None:
        """Runs once; with static shapes, what runs a second time on the same memory is kept as a CUDA graph."""
        memory = (*addresses, *targets)
        for (name, _), address in zip(self._outputs, targets, strict=True):
            self._context.set_tensor_address(name, address)
        if self._captures and memory == self._ran:
            try:
                self._graph = self._graph or CudaGraph(self._stream.handle, self._enqueue)
                self._graph.launch()
                return
            except IcebreakerError:  # it runs without one, only slower
                self._captures, self._graph = False, None
        self._ran, self._graph = memory, None
        self._enqueue()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise IcebreakerError(
                "run_failed", "{subject} failed: {words}", subject=self._title, words=self._last_words()
            )

    def _is_on_host(self, name: str) -> bool:
        return self._engine.get_tensor_location(name) == self._trt.TensorLocation.HOST

    def _dtype(self, name: str) -> Any:
        return self._trt.nptype(self._engine.get_tensor_dtype(name))

    def _last_words(self) -> str:
        return self._log.errors[-1] if self._log.errors else "it gives no reason"


class CudaGraph:
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
            words = self._cuda.cudaGetErrorString(error)[1].decode()
            raise IcebreakerError("graph_not_recorded", "the GPU cannot record the work: {words}", words=words)
        return results[0] if results else None
