"""TensorRT's run, with a stand-in for TensorRT: no machine that it runs on is within reach.

What stands in for it gives one copy to the stream. On a machine with an NVIDIA GPU the stream, its memory and the CUDA
graph are real; elsewhere the copies are done at once in the host's memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from icebreaker.engine import cuda
from icebreaker.engine.tensorrt import runner
from icebreaker.errors import IcebreakerError


def has_cuda() -> bool:
    try:
        cuda.Stream()
    except IcebreakerError:
        return False
    return True


class HostStream:
    """Stands in for `cuda.Stream`."""

    handle = 0

    def __init__(self) -> None:
        self.held: dict[str, np.ndarray] = {}

    def buffer(self, name: str, size: int) -> int:
        if name not in self.held or self.held[name].nbytes < size:
            self.held[name] = np.empty(max(size, 1), np.uint8)
        return self.held[name].ctypes.data

    def upload(self, address: int, array: np.ndarray) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def wait(self) -> None:
        pass


class Copies:
    """Module, runtime, engine and context in one: its output `y` is its input `x`."""

    TensorLocation = SimpleNamespace(HOST=0, DEVICE=1)

    class ILogger:
        pass

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.given: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.enqueued = 0
        self.fails_second = False

    def Runtime(self, log: Any) -> Copies:
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> Copies:
        return self

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.given or self.shape

    def get_tensor_location(self, name: str) -> int:
        return self.TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def nptype(self, name: str) -> Any:
        return np.dtype(name)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.given = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def infer_shapes(self) -> list[str]:
        return []

    def execute_async_v3(self, handle: int) -> bool:
        self.enqueued += 1
        size = int(np.prod(self.given)) * 4
        if not handle:
            ctypes.memmove(self.addresses["y"], self.addresses["x"], size)
            return True
        if self.fails_second and self.enqueued == 2:
            return False
        binding = cuda.runtime()
        kind = binding.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        (error,) = binding.cudaMemcpyAsync(self.addresses["y"], self.addresses["x"], size, kind, handle)
        return error == binding.cudaError_t.cudaSuccess


def plan_of(engine: Any) -> Any:
    header = {"inputs": ["x"], "outputs": [["y", "float32"]], "version_compatible": False, "weights": "fixed"}

    def new_context(trt: Any, made: Any, plan: bytes, is_static: bool) -> Any:
        return engine, lambda: None

    return runner.PlanRunner(engine, "TensorRT", header, b"", b"", new_context, captures=True)


def check(plan: Any, shapes: Sequence[tuple[int, ...]]) -> None:
    kept = []
    for seed, shape in enumerate(shapes):
        value = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        kept.append((plan([value])[0], value))
    for found, value in kept:  # no later call has changed them
        np.testing.assert_array_equal(found, value)


class Again:
    """Stands in for a CUDA graph where there is no CUDA: gives the work again by doing it."""

    def __init__(self, stream: int, work: Any) -> None:
        self.launch = work


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "Stream", HostStream)
    monkeypatch.setattr(runner, "CudaGraph", Again)


@pytest.mark.usefixtures("on_host")
def test_a_static_engine_replays_its_work() -> None:
    plan = plan_of(Copies((2, 3)))
    check(plan, [(2, 3)] * 4)
    assert isinstance(plan._graph, Again)


@pytest.mark.usefixtures("on_host")
def test_an_engine_with_open_shapes_does_not() -> None:
    plan = plan_of(Copies((-1, 3)))
    check(plan, [(2, 3), (2, 3), (5, 3), (1, 3)])
    assert not plan._captures and plan._graph is None


@pytest.mark.usefixtures("on_host")
def test_work_that_cannot_be_recorded_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise IcebreakerError("not_recorded", "the GPU cannot record the work")

    monkeypatch.setattr(runner, "CudaGraph", refuse)
    plan = plan_of(Copies((2, 3)))
    check(plan, [(2, 3)] * 4)
    assert not plan._captures and plan._graph is None


@pytest.mark.skipif(not has_cuda(), reason="CUDA cannot be used here")
def test_a_real_cuda_graph_replays_what_was_recorded() -> None:
    engine = Copies((64, 128))
    plan = plan_of(engine)
    check(plan, [(64, 128)] * 6)
    assert plan._graph is not None and engine.enqueued == 2, "once as it is, once to record"
    engine = Copies((64, 128))
    engine.fails_second = True
    plan = plan_of(engine)
    check(plan, [(64, 128)] * 6)
    assert plan._graph is None and engine.enqueued == 7, "the stream is of use after a recording that failed"
