"""What the GPU path can show without a GPU: its logic, run on the CPU provider with the host's memory as "device"."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from icebreaker import gpu
from icebreaker.engine import cuda, registry
from icebreaker.engine import onnxruntime as module
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.runtime import artifact_reader, engine_node
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor

without_gpu = pytest.mark.skipif(gpu.find() is not None, reason="this machine has an NVIDIA GPU")


def network(types: str = "(float[N,3] x, float[3] b) => (float[N,3] y, float[N,3] z)") -> bytes:
    text = f'<ir_version: 9, opset_import: ["" : 18]>\nnet {types} {{ y = Add (x, b)\n z = Mul (y, y) }}'
    return parser.parse_model(text).SerializeToString()


class HostStream:
    """Stands in for `cuda.Stream`: the same copies, done at once in the host's memory."""

    handle = 0

    def __init__(self) -> None:
        self.copies = self.waited_for = 0

    def upload(self, address: int, array: np.ndarray) -> None:
        self.move(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        self.move(array.ctypes.data, address, array.nbytes)

    def move(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)
        self.copies += 1

    def wait(self) -> None:
        self.waited_for = self.copies

    wait_for_all = wait


@pytest.fixture(params=[True, False], ids=["captured", "plain"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    def session(model: bytes, stream: Any, captures: bool, half: bool = False) -> Any:
        if captures and not request.param:
            raise IcebreakerError("partly_on_cpu", "parts of the model run on the CPU")
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(cuda, "Stream", HostStream)
    monkeypatch.setattr(module, "_cuda_session", session)
    monkeypatch.setattr(module._OnCuda, "_device", "cpu")
    made = module._OnCuda(network())
    assert made._captures == request.param
    return made


def expected(x: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    return [x + b, (x + b) ** 2]


def values(rows: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rows, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)]


def check(results: Sequence[Any], inputs: Sequence[np.ndarray]) -> None:
    for have, want in zip(results, expected(*inputs), strict=True):
        np.testing.assert_array_equal(have, want)


def test_arrays_of_changing_shapes_give_the_right_results(runner: Any) -> None:
    kept = []
    for seed, rows in enumerate([2, 5, 2, 1, 7, 9, 5, 11, 2]):  # more shapes than graphs are kept for
        inputs = values(rows, seed)
        kept.append((runner(inputs), inputs))
    for results, inputs in kept:  # no later call has changed them
        check(results, inputs)
    assert len(runner._graphs) == (module._MOST_GRAPHS if runner._captures else 0)


def test_tensors_of_the_device_come_and_go_by_dlpack(runner: Any) -> None:
    kept = []
    for seed, rows in enumerate([2, 5, 2, 2]):
        inputs = values(rows, seed)
        kept.append((runner.on_device(inputs), inputs))
    runner.wait()
    for results, inputs in kept:
        check([np.from_dlpack(item) for item in results], inputs)


def test_a_call_in_place_copies_nothing_but_what_the_graph_needs(runner: Any) -> None:
    inputs = values(2, 0)
    runner.on_device(inputs)
    before = runner._stream.copies
    runner.on_device(inputs)
    assert runner._stream.copies - before == (4 if runner._captures else 0)


def test_tensorflow_hands_its_tensors_over_and_gets_them_back(runner: Any) -> None:
    tf = pytest.importorskip("tensorflow")
    inputs = values(3, 1)
    capsules = [tf.experimental.dlpack.to_dlpack(tf.constant(item)) for item in inputs]
    results = [tf.experimental.dlpack.from_dlpack(item.__dlpack__()) for item in runner.on_device(capsules)]
    runner.wait()
    check([item.numpy() for item in results], inputs)


def test_an_engine_node_gives_tensorflow_tensors_that_are_there_to_be_read(runner: Any) -> None:
    tf = pytest.importorskip("tensorflow")
    stored = artifact_reader.StoredEngine(
        node="engine", engine="onnxruntime", precision="fp32", version="", device="CUDA", sha256="", function="native",
        shapes=((None, 3), (3,)), inputs=(Tensor("x"), Tensor("b")), output_dtypes=("float32", "float32"), _inline=b"",
        _file=None,
    )  # fmt: skip
    node = engine_node.EngineNode(Graph(tf.compat.v1.GraphDef()), stored, runner, fallback=False)
    inputs = values(3, 1)
    results = node.on_device([tf.constant(item) for item in inputs])
    assert runner._stream.waited_for == runner._stream.copies
    check([item.numpy() for item in results], inputs)


def test_a_session_with_a_graph_meets_no_other_shapes(runner: Any) -> None:
    """What cuDNN compiles for a shape is unloaded when the session meets another: a graph would call what is gone."""
    for rows in (2, 5, 2, 1, 7, 9, 2):
        runner(values(rows, 0))
    sessions = [id(graph.session) for graph in runner._graphs.values()]
    assert len(set(sessions)) == len(sessions) and id(runner._plain) not in sessions


def test_a_capture_that_fails_leaves_a_runner_that_is_right(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner(values(2, 0))
    monkeypatch.setattr(module._OnCuda, "_capture", lambda self, shapes: 1 / 0)
    for rows in (5, 2, 3):
        inputs = values(rows, rows)
        check(runner(inputs), inputs)
    assert not runner._captures and not runner._graphs


def test_a_failure_names_itself(runner: Any) -> None:
    with pytest.raises(IcebreakerError, match="ONNX Runtime failed"):
        runner([np.zeros((2, 4), np.float32), np.zeros(3, np.float32)])


class FailingCuda:
    """CUDA's answers to a call that fails."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)

    def __init__(self, words: str) -> None:
        self.words = words

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        return 2, 0

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, self.words.encode()


@pytest.mark.parametrize("words", ["out of memory", "an illegal memory access was encountered"])
def test_what_to_set_is_said_where_the_settings_are_known(words: str) -> None:
    """Nobody has set a memory fraction where a graph is loaded, and not every fault of the memory is for want of it."""
    stream = object.__new__(cuda.Stream)
    stream._cuda, stream._buffers = FailingCuda(words), {}
    with pytest.raises(IcebreakerError, match=f"^the GPU failed in cudaMalloc: {words}$"):
        stream.buffer("x", 8)


@without_gpu
def test_without_a_gpu_each_part_says_so() -> None:
    with pytest.raises(IcebreakerError, match=r"no NVIDIA GPU|nvidia-ml-py"):
        gpu.read()
    with pytest.raises(IcebreakerError, match=r"pip install cuda-bindings|the GPU failed in cudaStreamCreate"):
        cuda.Stream()
    assert not cuda.is_on_gpu(np.zeros(3)) and not cuda.is_on_gpu(1.0)
    engine = registry.get("onnxruntime")
    assert "on the CPU" in str(engine.status().detail)
    with pytest.raises(IcebreakerError, match="built in FP16 for an NVIDIA GPU"):
        engine.load(network(), "fp16")


def test_a_gpu_without_its_package_gets_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    card = gpu.Gpu("NVIDIA L4", (8, 9), "580", 24 << 30, 0, 0.0)
    monkeypatch.setattr(gpu, "find", lambda: card)
    if module._PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this package has the CUDA provider")
    status = registry.get("onnxruntime").status()
    assert status.runs and "on the CPU; not on the NVIDIA L4" in str(status.detail)
    assert "pip install onnxruntime-gpu cuda-bindings" in str(status.detail)


def test_the_first_visible_gpu_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nvml:
        """Two GPUs, as NVML counts them."""

        uuids = ("GPU-aaaa-1", "GPU-bbbb-2")

        def nvmlDeviceGetCount(self) -> int:
            return 2

        def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
            return self.uuids[index]

        def nvmlDeviceGetUUID(self, device: str) -> str:
            return device

    for visible, device in [("1,0", 1), ("0", 0), ("GPU-bbbb", 1), ("GPU-aaaa-1,GPU-bbbb", 0)]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpu._first_visible(Nvml()) == Nvml.uuids[device]
    for hidden in ("", "-1", "7"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with pytest.raises(IcebreakerError, match="no NVIDIA GPU is visible"):
            gpu._first_visible(Nvml())


def have(monkeypatch: pytest.MonkeyPatch, used: int = 0) -> None:
    card = gpu.Gpu("NVIDIA RTX", (8, 9), "580", 12_000_000_000, used, 0.0)
    monkeypatch.setattr(gpu, "find", lambda: card)


@pytest.mark.parametrize(
    ("text", "fraction", "advice"),
    [
        (
            "the GPU failed in cudaMalloc: out of memory",
            0.67,
            "4.0 GB beside TensorFlow's 0.67 of 12.0 GB.*lower .* 0.52",
        ),
        (
            "TensorRT failed: Cuda Runtime (out of memory)",
            None,
            "TensorFlow takes what it wants of 12.0 GB: set .* 0.67",
        ),
        (
            "ONNX Runtime failed: Available memory of 19968 is smaller than requested bytes of 1572864",
            0.67,
            "4.0 GB beside TensorFlow's 0.67",
        ),
        ("the GPU failed in cudaMemcpyAsync: an illegal memory access was encountered", 0.67, ""),
        (
            "OOM when allocating tensor with shape[8] by allocator GPU_0_bfc",
            0.3,
            r"0.30 of 12.0 GB\): raise .* to 0.45",
        ),
        ("ResourceExhaustedError: OOM when allocating", None, "2.0 GB of the GPU's 12.0 GB were free for TensorFlow"),
        ("OOM when allocating tensor by allocator cpu", 0.3, ""),
        ("the driver is too old", 0.3, ""),
        ("out of memory: lower the memory fraction", 0.3, ""),
    ],
)
def test_a_full_gpu_says_whose_share_was_too_small(
    monkeypatch: pytest.MonkeyPatch, text: str, fraction: float | None, advice: str
) -> None:
    assert gpu.memory_advice(text, fraction) == "" or gpu.find() is not None
    have(monkeypatch, used=10_000_000_000)
    found = gpu.memory_advice(text, fraction)
    assert re.search(advice, found) if advice else found == ""


def test_a_workspace_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch)
    assert gpu.workspace_warning(4_000_000_000, 0.66) == gpu.workspace_warning(12_000_000_000, None) == ""
    assert "4.0 GB is more than the 2.4 GB that a memory fraction of 0.80" in gpu.workspace_warning(4_000_000_000, 0.8)
    assert "13.0 GB is more than the 12.0 GB that there are on the NVIDIA RTX" in gpu.workspace_warning(
        13 * 10**9, None
    )


def test_a_conversion_warns_of_such_a_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    from icebreaker.conversion import scope
    from icebreaker.conversion.context import Notices

    if not registry.status("tensorrt-rtx").builds:
        pytest.skip("TensorRT-RTX is not installed")
    have(monkeypatch)
    asked = ConvertSettings.of(engine="tensorrt-rtx", memory_fraction=0.9, workspace_bytes=2_000_000_000)
    status = registry.status("tensorrt-rtx")
    notices = Notices(lambda event: None)
    scope.check_options(asked, [status], notices)
    assert "the workspace of 2.0 GB is more than the 1.2 GB" in str(notices.warnings[0])
    notices = Notices(lambda event: None)
    scope.check_options(asked, [registry.status("openvino")], notices)
    assert not notices.warnings, "it has no workspace"


def test_an_nvidia_gpu_without_tensorrt_is_told_what_it_would_add(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch)
    for name, package, command, gain in (
        ("tensorrt", "tensorrt", "pip install tensorrt cuda-bindings", "engines in FP32, FP16 and INT8"),
        (
            "tensorrt-rtx",
            "tensorrt_rtx",
            "pip install tensorrt-rtx-cu13 cuda-bindings",
            "engines in FP32, FP16 and INT8",
        ),
    ):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
        status = registry.get(name).status()
        assert not status.builds and command in str(status.detail)
        assert f"for this NVIDIA RTX it would add {gain}" in str(status.detail)
