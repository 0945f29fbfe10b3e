"""The GPU's memory and one stream, for the engines that run there; NVIDIA's cuda-bindings do the work.

Tensors come and go by DLPack, so that TensorFlow's stay where they are. A `Stream` is ordered: copies and an engine's
work that are given to it run one after another; `wait` lets the processor wait for all of it.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError

_ON_GPU = 2  # DLPack's kDLCUDA
# Of cudaError_t: after one of these every call in the process fails with it.
_LASTING = frozenset({
    "cudaErrorAssert", "cudaErrorECCUncorrectable", "cudaErrorHardwareStackError", "cudaErrorIllegalAddress",
    "cudaErrorIllegalInstruction", "cudaErrorInvalidAddressSpace", "cudaErrorInvalidPc", "cudaErrorLaunchFailure",
    "cudaErrorLaunchTimeout", "cudaErrorMisalignedAddress",
})  # fmt: skip


def runtime() -> Any:
    """The binding of the CUDA runtime.

    Raises:
        IcebreakerError: It is not installed, or finds no driver.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except Exception as error:  # it loads the driver at import, and says so in its own ways
        raise IcebreakerError(
            "cuda_unusable", "the CUDA runtime cannot be used ({why})", "install_with",
            why=str(error), command="pip install cuda-bindings",
        ) from error  # fmt: skip


def is_on_gpu(value: Any) -> bool:
    """Whether `value` is a tensor in a GPU's memory that DLPack can hand over."""
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and not isinstance(value, np.ndarray) and device()[0] == _ON_GPU


def is_lost() -> bool:
    """Whether a kernel has failed so that nothing in this process can use the GPU any more."""
    try:
        cuda = runtime()
    except IcebreakerError:
        return False
    return cuda.cudaDeviceSynchronize()[0].name in _LASTING


class Stream:
    """A CUDA stream, and buffers that live as long as it does."""

    def __init__(self) -> None:
        """Makes the stream on the first visible GPU."""
        self._cuda = runtime()
        self.handle = int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))
        self._buffers: dict[str, tuple[int, int]] = {}  # name → (address, bytes)
        weakref.finalize(self, _free, self._cuda, self._buffers, self.handle)

    def buffer(self, name: str, size: int) -> int:
        """The address of `size` bytes on the GPU under this name; it stays until a larger size is asked for."""
        address, held = self._buffers.get(name, (0, 0))
        if held < max(size, 1):
            if held:
                self._call("cudaFree", self._buffers.pop(name)[0])
            address = int(self._call("cudaMalloc", max(size, 1)))
            self._buffers[name] = (address, max(size, 1))
        return address

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copies a contiguous array to the GPU; it must stay as it is until `wait`."""
        self._copy(address, array.ctypes.data, array.nbytes, "cudaMemcpyHostToDevice")

    def download(self, array: np.ndarray, address: int) -> None:
        """Fills a contiguous array from the GPU; it is filled after `wait`."""
        self._copy(array.ctypes.data, address, array.nbytes, "cudaMemcpyDeviceToHost")

    def move(self, target: int, source: int, size: int) -> None:
        """Copies within the GPU."""
        self._copy(target, source, size, "cudaMemcpyDeviceToDevice")

    def wait(self) -> None:
        """Returns once everything that was given to the stream is done."""
        self._call("cudaStreamSynchronize", self.handle)

    def wait_for_all(self) -> None:
        """Returns once everything is done that this process gave to the GPU, on any stream."""
        self._call("cudaDeviceSynchronize")

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        if size:
            self._call("cudaMemcpyAsync", target, source, size, getattr(self._cuda.cudaMemcpyKind, kind), self.handle)

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *results = getattr(self._cuda, name)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            text = self._cuda.cudaGetErrorString(error)[1].decode()
            raise IcebreakerError("cuda_call_failed", "the GPU failed in {subject}: {words}", subject=name, words=text)
        return results[0] if results else None


def _free(cuda: Any, buffers: dict[str, tuple[int, int]], stream: int) -> None:
    for address, _ in buffers.values():
        cuda.cudaFree(address)
    cuda.cudaStreamDestroy(stream)


def tensors(values: Sequence[Any]) -> list[Any]:
    """ONNX Runtime's view of tensors from elsewhere, by DLPack: with an address, a shape, and the memory held."""
    from onnxruntime import OrtValue

    return [OrtValue.from_dlpack(value) for value in values]
