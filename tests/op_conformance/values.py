"""Hard values of each type: what engines go wrong on."""

from __future__ import annotations

import numpy as np

import ml_dtypes  # isort: skip

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64", "float16", "bfloat16")
DTYPES = (*FLOATS, *WHOLE, "bool")


def numpy_type(name: str) -> np.dtype:
    """NumPy's type of that name."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def is_float(name: str) -> bool:
    """Whether it is a type of floats."""
    return name in FLOATS


def small(name: str) -> np.ndarray:
    """Everyday values, negative ones and zero among them."""
    if name == "bool":
        return np.array([True, False, True, True, False, False])
    if name in WHOLE:
        values = [0, 1, 2, 3, 5, 7, 10, 100] + ([] if name.startswith("u") else [-1, -2, -3, -5, -7, -10, -100])
        return np.array(values, np.int64).astype(name)
    return np.array([0, 1, -1, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 3, -3, 0.1, 7.3, -7.3, 0.25, 10], "f8").astype(
        numpy_type(name)
    )


def hard(name: str) -> list[np.ndarray]:
    """Sets of values at the ends of a type, and where floats stop telling whole numbers apart."""
    if name == "bool":
        return []
    if name in WHOLE:
        ends = np.iinfo(name)
        sets = [[ends.max, ends.min, ends.max - 1, ends.min + 1, 3, 7]]
        for bits in (24, 31, 53):
            if 2**bits + 1 < ends.max:
                numbers = [2**bits + 1, 2**bits, 2**bits + 3, 2**bits - 1]
                sets.append(numbers + ([] if ends.min == 0 else [-number for number in numbers]))
        return [np.array(values, object).astype(name) for values in sets]
    big = {"float16": 6e4, "float64": 1e300}.get(name, 3e38)
    tiny = {"float16": 6e-8, "float64": 1e-310}.get(name, 1e-40)
    sets = [
        [1e-8, -1e-8, 3e-7, -3e-7, 1e-4, -1e-4, 2e-3, 0.02, -0.02, 0.4],
        [tiny, -tiny, 0.0, -0.0, 1.0, 0.5],
        [big, -big, 1e4, -1e4, 100.0, -100.0, 88.0, -88.0, 20.0, -20.0],
        [np.inf, 1.0, -1.0, 0.0, 2.0, -np.inf],
        [np.nan, 1.0, -1.0, 0.0, np.nan, 2.0, 7.0],
    ]
    if name == "float32":
        sets.append([16777217.0, 16777216.0, 8388609.5, -8388609.5, 4194304.5, 2147483648.0])
    return [np.array(values, "f8").astype(numpy_type(name)) for values in sets]
