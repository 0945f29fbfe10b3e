"""The library of `core/native`: an op that hands tensors over to OpenVINO without Python. Everything works without it.

It is compiled against the classes of one version of TensorFlow, which its name tells: no other version opens it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icebreaker.messages import Message, message

VARIABLE = "ICEBREAKER_NATIVE"  # "0": engines are called through Python


def place() -> Path:
    """Where the library for the TensorFlow that is installed is, or would be."""
    return Path(__file__).with_name(f"libicebreaker-tf{importlib.metadata.version('tensorflow')}.so")


def state() -> Message:
    """Whether it is there, in words; it is not opened for that."""
    if os.environ.get(VARIABLE) == "0":
        return message("native_op_off", "engines are called through Python, as {variable} says", variable=VARIABLE)
    if not place().is_file():
        return message(
            "native_op_absent", "engines are called through Python: there is no native op for TensorFlow {version}",
            "build_native_op", version=importlib.metadata.version("tensorflow"),
        )  # fmt: skip
    return message("native_op_here", "TensorFlow calls OpenVINO without Python, by the native op")


@cache
def _opened() -> Any:
    """The library, its op made known to TensorFlow; None if it is not there, or cannot be used."""
    import tensorflow as tf

    openvino = find_spec("openvino")
    folder = Path(openvino.origin).parent / "libs" if openvino is not None and openvino.origin else None
    found = sorted(folder.glob("libopenvino_c.so*")) if folder is not None else []
    if not place().is_file() or place().name != f"libicebreaker-tf{tf.__version__}.so" or not found:
        return None
    try:
        tf.load_op_library(str(place()))
        library = ctypes.CDLL(str(place()))
    except (tf.errors.OpError, OSError):
        return None
    library.icebreaker_register.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    library.icebreaker_unregister.argtypes = library.icebreaker_use_openvino.argtypes = (ctypes.c_char_p,)
    library.icebreaker_unregister.restype = library.icebreaker_use_openvino.restype = None
    library.icebreaker_use_openvino(str(found[-1]).encode())
    return library


def opened() -> Any:
    """The library, as ctypes gives it, ready for use; None: engines are called through Python. Imports TensorFlow."""
    return None if os.environ.get(VARIABLE) == "0" else _opened()
