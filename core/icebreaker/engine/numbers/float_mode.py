"""Takes numbers near zero as they are. TensorFlow's threads take what is not normal for zero, and so would an engine.

That is no matter of precision alone: OpenVINO moves whole numbers in registers of floats, where a small whole number
looks like a float that is not normal, and comes out as 0.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache
from typing import Any

_DEFAULT = ctypes.c_void_p(-1)  # glibc's FE_DFL_ENV
_ROOM = ctypes.c_char * 64  # more than any `fenv_t`
_SMALLEST, _ONE = 5e-324, 1.0


@cache
def _library() -> Any:
    """The C library's `fegetenv` and `fesetenv`; None where it is not glibc."""
    try:
        found = ctypes.PyDLL(ctypes.util.find_library("m"))
        is_known = all((ctypes.CDLL(None).gnu_get_libc_version, found.fegetenv, found.fesetenv))
    except (AttributeError, OSError, TypeError):
        return None
    return found if is_known else None


@contextlib.contextmanager
def exact_near_zero() -> Iterator[None]:
    """Within it, this thread computes with numbers that are not normal; afterwards as it did before."""
    library = None if _SMALLEST * _ONE else _library()
    if library is None:
        yield
        return
    kept = _ROOM()
    library.fegetenv(kept)
    library.fesetenv(_DEFAULT)
    try:
        yield
    finally:
        library.fesetenv(kept)
